package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// What Kubernetes itself does not define, as far as the chart uses it.
type (
	certificate struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			SecretName  string `json:"secretName"`
			Duration    string `json:"duration"`
			RenewBefore string `json:"renewBefore"`
			PrivateKey  struct {
				Algorithm      string `json:"algorithm"`
				Size           int    `json:"size"`
				RotationPolicy string `json:"rotationPolicy"`
			} `json:"privateKey"`
			Usages    []string `json:"usages"`
			DNSNames  []string `json:"dnsNames"`
			IssuerRef struct {
				Name, Kind, Group string
			} `json:"issuerRef"`
		} `json:"spec"`
	}
	serviceMonitor struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			JobLabel  string               `json:"jobLabel"`
			Selector  metav1.LabelSelector `json:"selector"`
			Endpoints []struct {
				Port      string         `json:"port"`
				Path      string         `json:"path"`
				Interval  string         `json:"interval"`
				Scheme    string         `json:"scheme"`
				TLSConfig map[string]any `json:"tlsConfig"`
			} `json:"endpoints"`
		} `json:"spec"`
	}
	prometheusRule struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Groups []struct {
				Name  string `json:"name"`
				Rules []struct {
					Alert       string            `json:"alert"`
					Expr        string            `json:"expr"`
					For         string            `json:"for"`
					Labels      map[string]string `json:"labels"`
					Annotations map[string]string `json:"annotations"`
				} `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
)

var kinds = map[string]func() any{
	"v1 ConfigMap":                            func() any { return new(corev1.ConfigMap) },
	"v1 Pod":                                  func() any { return new(corev1.Pod) },
	"v1 Service":                              func() any { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment":                      func() any { return new(appsv1.Deployment) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policyv1.PodDisruptionBudget) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() any { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networkingv1.NetworkPolicy) },
	"cert-manager.io/v1 Certificate":          func() any { return new(certificate) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return new(serviceMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() any { return new(prometheusRule) },
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// decode reads every document strictly: a field that its type does not have is an error.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	objects := make(map[string]any)
	for _, doc := range separator.Split(text, -1) {
		var head struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ObjectMeta `json:"metadata"`
		}
		must(t, yaml.Unmarshal([]byte(doc), &head))
		if head.Kind == "" {
			continue // comments only
		}
		kind := head.APIVersion + " " + head.Kind
		fresh := kinds[kind]
		if fresh == nil {
			t.Errorf("unknown kind %s", kind)
			continue
		}
		object := fresh()
		if err := yaml.UnmarshalStrict([]byte(doc), object); err != nil {
			t.Errorf("%s %s: %v", kind, head.Metadata.Name, err)
		}
		key := head.Kind + "/" + head.Metadata.Name
		if objects[key] != nil {
			t.Errorf("%s twice", key)
		}
		objects[key] = object
	}
	if len(objects) == 0 {
		t.Error("no objects")
	}
	return objects
}

// podOf gives what a pod of an object is made of; nil: it makes none.
func podOf(object any) *corev1.PodSpec {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.Spec
	case *corev1.Pod:
		return &o.Spec
	}
	return nil
}

// examine judges every pod: its rights, its time to end, and that Sallyport can
// read its configuration as it is mounted.
func examine(t *testing.T, objects map[string]any) {
	t.Helper()
	for name, object := range objects {
		pod := podOf(object)
		if pod == nil {
			continue
		}
		for _, c := range append(append([]corev1.Container(nil), pod.InitContainers...), pod.Containers...) {
			s := c.SecurityContext
			switch {
			case s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
				t.Errorf("%s: %s may write its image or gain rights", name, c.Name)
			case s.Capabilities == nil && c.Name != "api", s.Capabilities != nil && fmt.Sprint(s.Capabilities.Drop) != "[ALL]":
				t.Errorf("%s: %s keeps capabilities", name, c.Name)
			}
			if pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot {
				t.Errorf("%s may run as root", name)
			}
			if len(c.Args) > 0 && c.Args[0] == "serve" {
				t.Run(name, func(t *testing.T) { checkMounted(t, objects, pod, &c) })
			}
		}
	}
}

// checkMounted lays out a container's files and has "sallyport check" read them.
func checkMounted(t *testing.T, objects map[string]any, pod *corev1.PodSpec, c *corev1.Container) {
	dir := lay(t, objects, pod, c)
	cmd := exec.Command(path(t, "bin/sallyport"), "check", "--config", filepath.Join(dir, c.Args[2]))
	cmd.Env = os.Environ()
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"=#"+strings.Repeat("5e", 32))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(c.Args, " "), err, out)
	}
}

// serverName is the service's of a chart's release r in the namespace data.
const serverName = "r-sallyport.data.svc"

// lay puts a container's files into a folder as the kubelet does. Certificates of
// servers are for serverName, those of clients are client's, by the same authority.
func lay(t *testing.T, objects map[string]any, pod *corev1.PodSpec, c *corev1.Container) (dir string) {
	dir, err := os.MkdirTemp("", "m") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	run(t, path(t, "bin/sallyport"), "cert", "dev", filepath.Join(dir, "dev"), "--client", "client", "--host", serverName)
	pem := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, "dev", name))
		must(t, err)
		return string(text)
	}
	secret := func(pair string) map[string]string {
		return map[string]string{
			"tls.crt": pem(pair + ".crt"), "tls.key": pem(pair + ".key"), "ca.crt": pem("ca.crt"), "password": "x\n",
			"users.acl": "user app on #" + strings.Repeat("5e", 32) + " ~app:* +@read\n",
		}
	}
	volumes := make(map[string]corev1.VolumeSource)
	for _, v := range pod.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	grace := int64(30)
	if pod.TerminationGracePeriodSeconds != nil {
		grace = *pod.TerminationGracePeriodSeconds
	}
	for _, m := range c.VolumeMounts {
		at := filepath.Join(dir, m.MountPath)
		var files map[string]string
		switch v := volumes[m.Name]; {
		case v.ConfigMap != nil:
			made, ok := objects["ConfigMap/"+v.ConfigMap.Name].(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("no ConfigMap %s", v.ConfigMap.Name)
			}
			files = made.Data
		case v.Secret != nil:
			if v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
				t.Errorf("secret %s is mounted with another mode than 0440", v.Secret.SecretName)
			}
			pair := "server"
			if m.Name == "admin-probe" {
				pair = "client"
			}
			files = secret(pair)
		case v.EmptyDir != nil:
			must(t, os.MkdirAll(at, 0o700))
		default:
			t.Fatalf("nothing is known of volume %s", m.Name)
		}
		for name, text := range files {
			if name == "sallyport.yaml" {
				withinGrace(t, text, grace)
			}
			text = strings.ReplaceAll(text, "/run/sallyport/", filepath.Join(dir, "run/sallyport")+"/")
			write(t, filepath.Join(at, "..2026", name), text, 0o440)
			must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(at, name)))
		}
		if files != nil {
			must(t, os.Symlink("..2026", filepath.Join(at, "..data")))
		}
	}
	return dir
}

// withinGrace wants the drain to end before the kubelet ends the pod.
func withinGrace(t *testing.T, text string, grace int64) {
	t.Helper()
	var conf struct {
		Shutdown struct{ Delay, Timeout metav1.Duration }
	}
	must(t, yaml.Unmarshal([]byte(text), &conf))
	if drain := conf.Shutdown.Delay.Seconds() + conf.Shutdown.Timeout.Seconds(); drain == 0 || drain+10 > float64(grace) {
		t.Errorf("the drain takes %v s, the pod has %d", drain, grace)
	}
}

func TestManifestsAreWhatKubernetesReads(t *testing.T) {
	files, err := filepath.Glob(path(t, "deploy/kubernetes") + "/*.yaml")
	must(t, err)
	if len(files) != 3 {
		t.Errorf("%d manifests", len(files))
	}
	for _, file := range append(files, path(t, "deploy/examples/kubernetes/pod.yaml")) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			examine(t, decode(t, string(text)))
		})
	}
}

// What is wrong is seen.
func TestAFieldThatIsNoneIsSeen(t *testing.T) {
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte("apiVersion: apps/v1\nkind: Deployment\nspec: { replicaz: 2 }\n"), &d); err == nil {
		t.Error("replicaz is taken")
	}
}

// The sidecars are native ones, and the two variants differ in the way in only.
func TestSidecarsStartBeforeTheApplication(t *testing.T) {
	for _, file := range []string{"sidecar-socket.yaml", "sidecar-loopback.yaml"} {
		d := decode(t, read(t, "deploy/kubernetes/"+file))["Deployment/shop"].(*appsv1.Deployment)
		init := d.Spec.Template.Spec.InitContainers
		if len(init) != 1 || init[0].RestartPolicy == nil || *init[0].RestartPolicy != corev1.ContainerRestartPolicyAlways || init[0].StartupProbe == nil {
			t.Errorf("%s: no native sidecar that is waited for", file)
		}
	}
}
