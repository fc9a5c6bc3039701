package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/tlsutil"
)

// devFiles writes what "sallyport cert dev" writes.
func devFiles(t *testing.T, dir string, clients ...string) {
	t.Helper()
	ca, err := tlsutil.NewDevCA()
	must(t, err)
	server, err := ca.Server()
	must(t, err)
	must(t, os.MkdirAll(dir, 0o700))
	put(t, filepath.Join(dir, "ca.crt"), string(ca.CertPEM()))
	put(t, filepath.Join(dir, "server.crt"), string(server.CertPEM))
	put(t, filepath.Join(dir, "server.key"), string(server.KeyPEM))
	for _, name := range clients {
		pair, err := ca.Client(name)
		must(t, err)
		put(t, filepath.Join(dir, name+".crt"), string(pair.CertPEM))
		put(t, filepath.Join(dir, name+".key"), string(pair.KeyPEM))
	}
}

// The configurations that are delivered have no fault. What check --strict finds
// in them is listed here, so that nothing is added unseen.
func TestDeliveredConfigurationsLoad(t *testing.T) {
	t.Setenv("APP_HASH", "#"+strings.Repeat("5e", 32))
	for folder, findings := range map[string][]string{
		"deploy/docker/config": {"backends.main.unsafe_plaintext: passwords, tokens and data cross the network unencrypted"},
		"deploy/packages":      {"there is no user: nobody can log in"},
	} {
		t.Run(folder, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TLS_DIR", filepath.Join(dir, "tls"))
			devFiles(t, filepath.Join(dir, "tls"))
			for _, name := range []string{"sallyport.yaml", "policy.yaml"} {
				text := readText(t, folder+"/"+name)
				text = strings.NewReplacer("/var/log/sallyport/", dir+"/", "unix:/run/sallyport/", "unix:"+shortDir(t)+"/").Replace(text)
				put(t, filepath.Join(dir, name), text)
			}
			cfg, problems := config.Load(filepath.Join(dir, "sallyport.yaml"))
			if cfg == nil {
				t.Fatal(problems)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.What)
			}
			if !slices.Equal(got, findings) {
				t.Errorf("findings %q, want %q", got, findings)
			}
		})
	}
}

// shortDir is a folder whose sockets fit into an address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The image holds a static binary and no root, whatever else changes in it.
func TestTheImageIsSmallAndNotRoot(t *testing.T) {
	text := readText(t, "deploy/docker/Dockerfile")
	stages := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1)
	if len(stages) != 2 || stages[1][1] != "scratch" {
		t.Errorf("stages %q; the last one starts from nothing", stages)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readText(t, "go.mod"))
	if len(version) != 2 || !strings.HasPrefix(stages[0][1], "golang:"+version[1]+".") {
		t.Errorf("built by %s, go.mod wants %q", stages[0][1], version)
	}
	_, final, _ := strings.Cut(text, "\nFROM scratch\n")
	for _, want := range []string{"\nUSER 65532:65532\n", "\nSTOPSIGNAL SIGTERM\n", `HEALTHCHECK `, `ENTRYPOINT ["/usr/bin/sallyport"]`} {
		if !strings.Contains("\n"+final, want) {
			t.Errorf("the final stage has no %q", want)
		}
	}
	if !strings.Contains(text, "CGO_ENABLED=0") || strings.Contains(final, "RUN ") {
		t.Error("the binary is not static, or the final stage runs something")
	}
	for _, list := range regexp.MustCompile(`(?m)CMD \[(.*)\]$`).FindAllStringSubmatch(final, -1) {
		words := strings.NewReplacer(`"`, "", ",", "", "/usr/bin/sallyport", "").Replace(list[1])
		if fault := knownCommand(strings.TrimSpace(words)); fault != "" {
			t.Errorf("CMD %s: %s", list[1], fault)
		}
	}
}

// The unit's commands are ours, and the socket unit's address is the configuration's.
func TestTheUnitFitsTheCommand(t *testing.T) {
	unit := readText(t, "deploy/systemd/sallyport.service")
	commands := regexp.MustCompile(`(?m)^Exec\w+=/usr/bin/sallyport (.*)$`).FindAllStringSubmatch(unit, -1)
	if len(commands) != 2 {
		t.Errorf("%d commands", len(commands))
	}
	for _, c := range commands {
		if fault := knownCommand(c[1]); fault != "" {
			t.Errorf("%s: %s", c[1], fault)
		}
	}
	for _, want := range []string{"Type=notify", "User=sallyport", "WatchdogSec=", "RestartPreventExitStatus=2", "NoNewPrivileges=yes"} {
		if !strings.Contains(unit, "\n"+want) {
			t.Errorf("the unit has no %s", want)
		}
	}
	address := regexp.MustCompile(`(?m)^ListenStream=(\S+)$`).FindStringSubmatch(readText(t, "deploy/systemd/sallyport.socket"))
	if len(address) != 2 || !strings.Contains(readText(t, "deploy/packages/sallyport.yaml"), "address: "+address[1]+" ") {
		t.Errorf("the socket unit's address %q is no listener's", address)
	}
}
