package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// steered switches on the admin endpoints alone.
var steered = []string{"--set", strings.Join([]string{
	"tls.existingSecret=tls", "tls.clientCASecret=clients", "admin.enabled=true", "admin.clientCASecret=operators", "admin.probeSecret=probe",
	"admin.users.kubelet.role=owner", "admin.users.kubelet.certificate.cn=client",
}, ",")}

// As it stands, nothing of the admin endpoints is seen from outside the pod.
func TestTheChartOpensNoAdminPortByItself(t *testing.T) {
	text := template(t, "--set", "tls.existingSecret=tls,networkPolicy.enabled=true")
	for _, word := range []string{"9380", "metrics", "admin-"} {
		if strings.Contains(text, word) {
			t.Errorf("%q is in what is rendered", word)
		}
	}
}

// What cannot work is refused before anything is installed.
func TestTheChartRefusesAnAdminPortThatNobodyCouldUse(t *testing.T) {
	for wrong, says := range map[string]string{
		"metrics.serviceMonitor.enabled=true":                                                                                                          "nobody can scrape a socket",
		"admin.enabled=true,admin.clientCASecret=c,admin.probeSecret=p,admin.users.a.role=owner":                                                       "admin.enabled needs a certificate",
		"admin.enabled=true,admin.tlsSecret=s,admin.clientCASecret=c,admin.probeSecret=p,admin.users.a.role=owner,metrics.serviceMonitor.enabled=true": "nobody scrapes without a certificate",
		"admin.enabled=true,admin.tlsSecret=s,admin.clientCASecret=c,admin.users.a.role=owner":                                                         "/admin/probeSecret",
	} {
		out, err := helm(t, "template", "r", path(t, chart), "--kube-version", "1.34.0", "--set", wrong)
		if err == nil || !strings.Contains(out, says) {
			t.Errorf("%s: %v, not %q but:\n%s", wrong, err, says, out)
		}
	}
}

func TestPrometheusShowsACertificateToTheAdminPort(t *testing.T) {
	objects := decode(t, template(t, append(steered, "--set", "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.clientSecret=prometheus",
		"--set-json", `networkPolicy={"enabled":true,"from":[{"podSelector":{}}],"adminFrom":[{"namespaceSelector":{}}]}`)...))
	end := objects["ServiceMonitor/r-sallyport"].(*serviceMonitor).Spec.Endpoints[0]
	if end.Scheme != "https" || end.TLSConfig["serverName"] != serverName || end.TLSConfig["insecureSkipVerify"] != nil {
		t.Errorf("%+v", end)
	}
	for _, member := range []string{"ca", "cert", "keySecret"} {
		if end.TLSConfig[member] == nil {
			t.Errorf("no %s", member)
		}
	}
	port := ""
	for _, p := range objects["Service/r-sallyport"].(*corev1.Service).Spec.Ports {
		if p.Name == end.Port {
			port = p.TargetPort.String()
		}
	}
	if port != "metrics" {
		t.Errorf("the monitor's port leads to %q", port)
	}
	ways := objects["NetworkPolicy/r-sallyport"].(*networkingv1.NetworkPolicy).Spec.Ingress
	if len(ways) != 2 || len(ways[0].Ports) != 1 || ways[1].Ports[0].Port.IntValue() != 9380 || ways[1].From[0].NamespaceSelector == nil {
		t.Errorf("ingress %+v", ways)
	}
}

// The pod's own commands get through to a proxy that runs on what was rendered,
// and those without their certificate do not.
func TestProbesAndPreStopAreLetIn(t *testing.T) {
	objects := decode(t, template(t, steered...))
	pod := &objects["Deployment/r-sallyport"].(*appsv1.Deployment).Spec.Template.Spec
	c := &pod.Containers[0]
	dir := lay(t, objects, pod, c)
	redis, admin := freePort(t), freePort(t)
	starts(t, dir, "redis-server", "--port", redis, "--save", "", "--bind", "127.0.0.1")
	config := filepath.Join(dir, "/etc/sallyport/config/..2026/sallyport.yaml")
	text, err := os.ReadFile(config)
	must(t, err)
	must(t, os.Remove(config))
	write(t, config, strings.NewReplacer("0.0.0.0:9380", "127.0.0.1:"+admin, "0.0.0.0:6380", "127.0.0.1:0", "redis:6379", "127.0.0.1:"+redis).Replace(string(text)), 0o440)
	starts(t, dir, path(t, "bin/sallyport"), "serve", "--allow-root", "--config", filepath.Join(dir, c.Args[2]))

	ask := func(command []string) (string, error) {
		command = append([]string(nil), command...)
		for i, word := range command {
			command[i] = strings.Replace(strings.Replace(word, "/etc/sallyport/", dir+"/etc/sallyport/", 1), "127.0.0.1:9380", "127.0.0.1:"+admin, 1)
		}
		out, err := exec.Command(path(t, "bin/sallyport"), command[1:]...).CombinedOutput()
		return string(out), err
	}
	ready, live, drain := c.ReadinessProbe.Exec.Command, c.LivenessProbe.Exec.Command, c.Lifecycle.PreStop.Exec.Command
	eventually(t, func() error {
		out, err := ask(ready)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if out, err := ask(live); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	stranger := append([]string(nil), live...)
	for i, word := range live {
		if word == "--cert" || word == "--key" {
			stranger[i], stranger[i+1] = "--timeout", "20s"
		}
	}
	if out, err := ask(stranger); err == nil {
		t.Errorf("who shows no certificate is let in:\n%s", out)
	}
	if out, err := ask(drain); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := ask(ready); err == nil || !strings.Contains(out, "draining") {
		t.Errorf("after the drain: %v\n%s", err, out)
	}
}
