package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const chart = "deploy/helm/sallyport"

func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(path(t, "bin/tools/helm"), args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return string(out) + said.String(), err
	}
	return string(out), nil
}

func template(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "r", path(t, chart), "--namespace", "data", "--kube-version", "1.34.0"}, args...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// everything switches every option on.
const everything = `
replicaCount: 3
image: { digest: "sha256:` + "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8" + `" }
imagePullSecrets: [{ name: pull }]
policy:
  aclfile: ../acl/users.acl
rollOnConfigChange: true
config:
  backends:
    main: { nodes: ["redis.data.svc:6379"], unsafe_plaintext: null, password_file: ../backend/password, tls: { ca: ../backend/ca.crt } }
tls:
  clientCASecret: clients
  certManager: { enabled: true, issuerRef: { name: ca, kind: ClusterIssuer }, dnsNames: [redis.example] }
backend: { existingSecret: backend }
acl: { existingSecret: users }
service: { annotations: { a: b } }
extraArgs: ["--log-level=debug"]
extraEnv: [{ name: X, value: y }]
extraVolumes: [{ name: more, emptyDir: {} }]
extraVolumeMounts: [{ name: more, mountPath: /more }]
podAnnotations: { a: b }
podLabels: { c: d }
nodeSelector: { e: f }
tolerations: [{ key: g, operator: Exists }]
affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } }
topologySpreadConstraints: [{ maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule }]
priorityClassName: high
autoscaling: { enabled: true }
networkPolicy: { enabled: true, from: [{ podSelector: { matchLabels: { app: x } } }], backendTo: [{ podSelector: {} }], backendPorts: [6379, 6380] }
metrics: { serviceMonitor: { enabled: true, labels: { release: p }, clientSecret: prometheus } }
admin:
  enabled: true
  clientCASecret: operators
  probeSecret: probe
  users: { kubelet: { role: owner, certificate: { cn: client } }, prometheus: { role: viewer, certificate: { cn: prometheus } } }
prometheusRule: { enabled: true, labels: { release: p } }
dashboards: { enabled: true }
`

func TestTheChartIsWithoutFault(t *testing.T) {
	values := filepath.Join(t.TempDir(), "values.yaml")
	write(t, values, everything, 0o600)
	for _, args := range [][]string{nil, {"--values", values}} {
		out, err := helm(t, append([]string{"lint", "--strict", path(t, chart)}, args...)...)
		if err != nil || !strings.Contains(out, "0 chart(s) failed") {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestTheChartRendersWhatKubernetesReads(t *testing.T) {
	t.Run("as it stands", func(t *testing.T) {
		objects := decode(t, template(t, "--set", "tls.existingSecret=tls,tls.clientCASecret=clients"))
		examine(t, objects)
		if len(objects) != 6 { // account, configuration, pods, service, budget, test
			t.Errorf("%d objects", len(objects))
		}
	})
	t.Run("everything", func(t *testing.T) {
		values := filepath.Join(t.TempDir(), "values.yaml")
		write(t, values, everything, 0o600)
		objects := decode(t, template(t, "--values", values))
		examine(t, objects)
		for _, want := range []string{
			"ServiceAccount", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
			"Certificate", "ServiceMonitor", "PrometheusRule",
		} {
			if objects[want+"/r-sallyport"] == nil {
				t.Errorf("no %s", want)
			}
		}
		board, ok := objects["ConfigMap/r-sallyport-dashboard"].(*corev1.ConfigMap)
		if !ok || strings.TrimSpace(board.Data["sallyport.json"]) != strings.TrimSpace(read(t, "deploy/monitoring/dashboard.json")) {
			t.Error("the dashboard is not the one of deploy/monitoring")
		}
		rules, ok := objects["PrometheusRule/r-sallyport"].(*prometheusRule)
		if !ok || len(rules.Spec.Groups) != 1 || len(rules.Spec.Groups[0].Rules) != strings.Count(read(t, "deploy/monitoring/alerts.yaml"), "- alert: ") {
			t.Error("the rules are not those of deploy/monitoring")
		}
		d := objects["Deployment/r-sallyport"].(*appsv1.Deployment)
		if d.Spec.Replicas != nil {
			t.Error("the number of pods is fixed and scaled")
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != "sallyport@sha256:5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8" {
			t.Errorf("image %s", got)
		}
	})
	t.Run("another configuration makes other pods only if asked to", func(t *testing.T) {
		sum := func(args ...string) string {
			objects := decode(t, template(t, args...))
			return objects["Deployment/r-sallyport"].(*appsv1.Deployment).Spec.Template.Annotations["checksum/config"]
		}
		if sum() != "" || sum("--set", "rollOnConfigChange=true") == sum("--set", "rollOnConfigChange=true,config.workers=2") {
			t.Error("checksum/config")
		}
	})
}

// A word that is none is refused before anything is installed.
func TestValuesHaveASchema(t *testing.T) {
	for _, wrong := range []string{
		"replicas=3", "service.port=99999", "image.pullPolicy=Sometimes", "tls.certManager.issuerRef.kind=Authority", "autoscaling.targetCPUUtilizationPercentage=0",
		"image.digest=latest", "metrics.serviceMonitor.scheme=gopher", "admin.enabled=true", "admin.users.ann.role=queen",
	} {
		out, err := helm(t, "template", "r", path(t, chart), "--kube-version", "1.34.0", "--set", wrong)
		if err == nil || !strings.Contains(out, "values don't meet the specifications of the schema") {
			t.Errorf("%s is taken: %s", wrong, out)
		}
	}
}

func TestTheChartPacks(t *testing.T) {
	dir := t.TempDir()
	if out, err := helm(t, "package", path(t, chart), "--destination", dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list := run(t, "tar", "tzf", filepath.Join(dir, "sallyport-0.1.0.tgz"))
	if err := contains(list, "sallyport/values.schema.json", "sallyport/files/alerts.yaml", "sallyport/files/dashboard.json"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sallyport-0.1.0.tgz")); err != nil {
		t.Error(err)
	}
}
