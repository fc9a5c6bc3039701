package check

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestEveryAlertFiresWhenItShould(t *testing.T) {
	out := run(t, "promtool", "test", "rules", path(t, "deploy/monitoring/alerts_test.yaml"))
	if err := contains(out, "SUCCESS"); err != nil {
		t.Error(err)
	}
	run(t, "promtool", "check", "rules", path(t, "deploy/monitoring/alerts.yaml"))
	tests := read(t, "deploy/monitoring/alerts_test.yaml")
	for _, m := range regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(read(t, "deploy/monitoring/alerts.yaml"), -1) {
		if !strings.Contains(tests, "alertname: "+m[1]+"\n") || !strings.Contains(tests, "alertname: "+m[1]+", exp_alerts: []") {
			t.Errorf("%s has no test of firing and of silence", m[1])
		}
	}
}

// board is what is looked at of a dashboard.
type board struct {
	Panels []struct {
		ID          int
		Type        string
		Title       string
		Description string
		Datasource  struct{ UID string }
		FieldConfig struct {
			Defaults struct{ Unit string }
		}
		Targets []struct {
			RefID      string
			Expr       string
			Datasource struct{ UID string }
		}
	}
	Templating struct {
		List []struct{ Name, Type string }
	}
}

func dashboard(t *testing.T) *board {
	t.Helper()
	b := new(board)
	must(t, json.Unmarshal([]byte(read(t, "deploy/monitoring/dashboard.json")), b))
	return b
}

func TestTheDashboardIsComplete(t *testing.T) {
	ids := map[int]bool{}
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the number %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q lacks a description, a unit, a query or the data source's variable", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `job=~"$job"`) {
				t.Errorf("panel %q: %s is of a fixed data source or job", p.Title, target.Expr)
			}
		}
	}
	if len(ids) < 20 {
		t.Errorf("%d panels", len(ids))
	}
}

// Each query of the dashboard and each alert's is understood by a real Prometheus, and
// those that always have something to say do, from a real scrape.
func TestQueriesFindWhatTheProxyCounts(t *testing.T) {
	dir := t.TempDir()
	redis, gateway, admin, prom := freePort(t), freePort(t), freePort(t), freePort(t)
	starts(t, dir, "redis-server", "--port", redis, "--save", "", "--bind", "127.0.0.1")
	sentinel, second := freePort(t), freePort(t)
	write(t, filepath.Join(dir, "sentinel.conf"), "port "+sentinel+"\nbind 127.0.0.1\nsentinel monitor primary 127.0.0.1 "+redis+" 1\n", 0o600)
	starts(t, dir, "redis-server", "sentinel.conf", "--sentinel")
	run(t, path(t, "bin/sallyport"), "cert", "dev", filepath.Join(dir, "tls"))
	write(t, filepath.Join(dir, "policy.yaml"), "users:\n  default: { rules: \"on nopass ~app:* +@all\" }\n", 0o600)
	ca := "tls/ca.crt"
	write(t, filepath.Join(dir, "sallyport.yaml"), "listeners:\n  - { name: watched, backend: watched, anonymous: true, address: \"127.0.0.1:"+second+"\" }\n  - { name: gateway, backend: main, address: \"127.0.0.1:"+gateway+"\", anonymous: true, tls: { certificate: tls/server.crt, key: tls/server.key, client_ca: "+ca+", client_auth: optional } }\n"+
		"backends:\n  main: { nodes: [\"127.0.0.1:"+redis+"\"] }\n  watched: { topology: sentinel, sentinel: { name: primary, nodes: [\"127.0.0.1:"+sentinel+"\"] } }\npolicy: { file: policy.yaml }\nadmin: { address: \"127.0.0.1:"+admin+"\" }\n", 0o600)
	starts(t, dir, path(t, "bin/sallyport"), "serve", "--allow-root", "--config", "sallyport.yaml")
	write(t, filepath.Join(dir, "prometheus.yml"), "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: ["+path(t, "deploy/monitoring/alerts.yaml")+"]\n"+
		"scrape_configs:\n  - job_name: sallyport\n    static_configs: [{ targets: [\"127.0.0.1:"+admin+"\"] }]\n", 0o600)
	starts(t, dir, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:"+prom)

	ask := func(query string) (string, int, error) {
		r, err := http.Get("http://127.0.0.1:" + prom + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			return "", 0, err
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return "", 0, err
		}
		var answer struct {
			Status string
			Error  string
			Data   struct{ Result []json.RawMessage }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return "", 0, fmt.Errorf("%s: %s", r.Status, body)
		}
		return answer.Status + " " + answer.Error, len(answer.Data.Result), nil
	}
	call := []string{"-p", gateway, "--tls", "--cacert", filepath.Join(dir, ca)}
	for _, args := range [][]string{{"SET", "app:x", "1"}, {"GET", "other"}, {"FLUSHALL"}, {"PING"}} {
		eventually(t, func() error { return exec.Command("redis-cli", append(call, args...)...).Run() })
	}
	concrete := strings.NewReplacer("$__rate_interval", "1m", `"$job"`, `"sallyport"`, `"$instance"`, `".*"`)
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			query := concrete.Replace(target.Expr)
			eventually(t, func() error {
				status, n, err := ask(query)
				if err == nil && (!strings.HasPrefix(status, "success") || n == 0) {
					err = fmt.Errorf("panel %q: %s: %s, %d series", p.Title, query, status, n)
				}
				return err
			})
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	must(t, yaml.Unmarshal([]byte(read(t, "deploy/monitoring/alerts.yaml")), &rules))
	known := regexp.MustCompile(`\b(sallyport_\w+|process_\w+|go_sched_\w+|up)\b(\{|\[| )`)
	for _, r := range rules.Groups[0].Rules {
		if status, _, err := ask(r.Expr); err != nil || !strings.HasPrefix(status, "success") {
			t.Errorf("%s: %s, %v", r.Alert, status, err)
		}
		metrics := known.FindAllStringSubmatch(r.Expr, -1)
		if len(metrics) == 0 {
			t.Errorf("%s asks for nothing that is known", r.Alert)
		}
		for _, m := range metrics {
			if strings.HasPrefix(m[1], "sallyport_crl_") {
				continue // there is no revocation list here; the product's tests have one
			}
			if status, n, err := ask(m[1]); err != nil || n == 0 {
				t.Errorf("%s asks for %s, which nothing counts: %s, %v", r.Alert, m[1], status, err)
			}
		}
	}
}
