//go:build testssl

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
	"github.com/sallyport/sallyport/tlsutil"
)

// testsslFinding is one of testssl.sh's.
type testsslFinding struct{ ID, Severity, Finding string }

// What testssl.sh finds at a listener as it comes: nothing of medium severity or
// more, versions 1.2 and 1.3 alone, suites with forward secrecy and authenticated
// encryption alone. What it says of the certificate is left out, since an authority
// for development has neither lists to fetch nor a domain.
// make test-tls installs what this needs; it takes two minutes.
func TestTheListenerAsTestsslFindsIt(t *testing.T) {
	dir := t.TempDir()
	_, err := tlsutil.WriteDevDir(filepath.Join(dir, "tls"), tlsutil.DevOptions{})
	must(t, err)
	address := "127.0.0.1:" + freePort(t)
	s := runs(t, dir, processConfig(address, redistest.Start(t).Addr(), ", tls: { certificate: tls/server.crt, key: tls/server.key, client_ca: tls/ca.crt, client_auth: optional }"), nil)
	s.says(`"msg":"started"`)
	report := filepath.Join(dir, "report.json")
	cmd := exec.CommandContext(t.Context(), "testssl", "--quiet", "--color", "0", "--warnings", "batch",
		"--add-ca", filepath.Join(dir, "tls", "ca.crt"), "--ip", "127.0.0.1", "--jsonfile", report, "localhost"+strings.TrimPrefix(address, "127.0.0.1"))
	began := time.Now()
	said, err := cmd.CombinedOutput() // its exit code counts findings
	text, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("no report: %v\n%s", err, said)
	}
	var findings []testsslFinding
	must(t, json.Unmarshal(text, &findings))
	t.Logf("%d findings in %v", len(findings), time.Since(began).Round(time.Second))
	judgeFindings(t, findings)
}

var goodSuite = regexp.MustCompile(`\bTLS_(AES|CHACHA20)_|\bECDHE-(ECDSA|RSA)-(AES\d+-GCM|CHACHA20)`)

func judgeFindings(t *testing.T, findings []testsslFinding) {
	by := make(map[string]testsslFinding)
	suites := 0
	for _, f := range findings {
		by[f.ID] = f
		if strings.HasPrefix(f.ID, "cipher_x") {
			if suites++; !goodSuite.MatchString(f.Finding) {
				t.Errorf("a suite is offered that is neither ECDHE with authenticated encryption nor of TLS 1.3: %s", f.Finding)
			}
		}
		aboutTheCertificate := strings.HasPrefix(f.ID, "cert_") || strings.HasPrefix(f.ID, "DNS_CAA")
		switch f.Severity {
		case "DEBUG", "INFO", "OK":
		case "LOW":
			t.Logf("low: %s: %s", f.ID, f.Finding)
		default: // MEDIUM, HIGH, CRITICAL, and WARN: a test that could not be made
			if !aboutTheCertificate {
				t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
			}
		}
	}
	if suites < 6 {
		t.Errorf("%d suites were seen, there are six at least", suites)
	}
	for id, want := range map[string]string{
		"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered",
		"TLS1_2": "offered", "TLS1_3": "offered", "cipherlist_NULL": "not offered", "cipherlist_aNULL": "not offered",
		"heartbleed": "not vulnerable", "ROBOT": "not vulnerable", "secure_renego": "supported", "fallback_SCSV": "",
	} {
		if f, ok := by[id]; !ok || !strings.HasPrefix(f.Finding, want) {
			t.Errorf("%s: %q, want %q", id, f.Finding, want)
		}
	}
}
