package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	yaml "go.yaml.in/yaml/v4"
)

// FuzzLoad feeds both files. Whatever they hold: no panic, a Config exactly if
// there is no fault, every place inside its file, no password in what is said,
// and nothing accepted that the YAML library's own strict decoder refuses.
func FuzzLoad(f *testing.F) {
	tables, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(tables) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, table := range tables {
		archive, err := txtar.ParseFile(table)
		if err != nil {
			f.Fatal(err)
		}
		names, files := folders(archive)
		for _, name := range names {
			server, policy := files[name]["sallyport.yaml"], files[name]["policy.yaml"]
			if server == nil {
				server = files["good"]["sallyport.yaml"]
			}
			if policy == nil {
				policy = files["good"]["policy.yaml"]
			}
			f.Add(server, policy)
		}
	}
	f.Add([]byte(documented), []byte(documentedPolicy))
	dir := f.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "machine/proc"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "machine/proc/meminfo"), []byte("MemTotal: 8388608 kB\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, server, policy []byte) {
		path := filepath.Join(dir, "sallyport.yaml")
		writeFile(t, path, server)
		writeFile(t, filepath.Join(dir, "policy.yaml"), policy)
		cfg, problems := load(path, surroundings{
			env:     func(string) (string, bool) { return "value", true },
			machine: machine{root: filepath.Join(dir, "machine")},
			now:     func() time.Time { return testNow },
		})
		if (cfg == nil) != (len(problems.Faults()) > 0) {
			t.Fatalf("config %v, faults: %v", cfg != nil, problems.Faults())
		}
		checkPlaces(t, problems, map[string][]byte{"sallyport.yaml": server, "policy.yaml": policy})
		var out bytes.Buffer
		if err := problems.Print(&out); err != nil {
			t.Fatal(err)
		}
		checkSecrets(t, out.String(), server, policy)
		if cfg != nil {
			secondOpinion(t, server, new(strictServer))
			secondOpinion(t, policy, new(strictPolicy))
		}
	})
}

func checkPlaces(t *testing.T, problems Problems, files map[string][]byte) {
	for _, p := range problems {
		text, known := files[filepath.Base(p.At.File)]
		if p.At.File == "" || p.What == "" {
			t.Errorf("a problem without a file or words: %+v", p)
		}
		if lines := bytes.Count(text, []byte("\n")) + 1; known && p.At.Line > lines {
			t.Errorf("%v is beyond the file's %d lines", p, lines)
		}
		if p.At.Line < 0 || p.At.Column < 0 || p.At.Line > 0 && p.At.Column == 0 {
			t.Errorf("no such place: %+v", p.At)
		}
	}
}

// checkSecrets looks for the values of password keys in what was said. Values
// that stand elsewhere in the files too, or in our own words, prove nothing.
func checkSecrets(t *testing.T, said string, files ...[]byte) {
	all := bytes.Join(files, nil)
	for _, file := range files {
		var root yaml.Node
		if yaml.Load(file, &root) != nil {
			continue
		}
		for _, secret := range passwords(&root, nil) {
			if len(secret) >= 8 && !strings.ContainsAny(secret, " \n\"'") && bytes.Count(all, []byte(secret)) == 1 &&
				strings.Contains(said, secret) && !strings.Contains(secret, "${") {
				t.Errorf("a password is shown:\n%s", said)
			}
		}
	}
}

func passwords(n *yaml.Node, found []string) []string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == "password" && v.Kind == yaml.ScalarNode {
			found = append(found, v.Value)
		}
	}
	for _, c := range n.Content {
		found = passwords(c, found)
	}
	return found
}

// secondOpinion has the library decode strictly what we accepted.
func secondOpinion(t *testing.T, text []byte, into any) {
	err := yaml.Load(text, into, yaml.WithKnownFields())
	var all *yaml.LoadErrors
	if errors.As(err, &all) || err != nil {
		t.Errorf("accepted, but the library's strict decoder says %v:\n%s", err, text)
	}
}

// The keys that this version knows, as structs for the library's decoder.
type (
	strictServer struct {
		Listeners []struct {
			Name, Address string
			TLS           *struct {
				Certificate string
				Key         string
				ClientCA    string `yaml:"client_ca"`
				ClientAuth  string `yaml:"client_auth"`
				MinVersion  string `yaml:"min_version"`
				CRL         any    `yaml:"crl"`
				CRLMissing  string `yaml:"crl_missing"`
				Tickets     any
			}
			Allow           any
			Auth            []string
			ProxyProtocol   *struct{ From any } `yaml:"proxy_protocol"`
			Anonymous       any
			Backend, Mode   string
			Routes          []struct{ Prefix, Backend string }
			UnsafePlaintext any `yaml:"unsafe_plaintext"`
		}
		Backends map[string]struct {
			Topology        string
			Nodes           []any
			User, Password  string
			PasswordFile    string            `yaml:"password_file"`
			TLS             map[string]string `yaml:"tls"`
			Discover        bool
			Connections     any
			Eject           any
			UnsafePlaintext any `yaml:"unsafe_plaintext"`
		}
		Policy struct {
			File             string
			Modes            map[string]string
			Probes, Commands string
			Passwords        any
			TokenSwitch      any `yaml:"token_switch"`
		}
		Events    []map[string]any
		EventsOn  []string `yaml:"events_on"`
		Snapshots struct {
			Every    any
			Expected []string
		} `yaml:"client_snapshots"`
		Admin    *struct{ Address string }
		Limits   map[string]any
		Workers  any
		Shutdown map[string]string
	}
	strictPolicy struct {
		Roles map[string]any
		Users map[string]struct {
			Rules          string
			Roles          []string
			From           any
			Require        []string
			Certificate    any
			Token          *struct{ Issuer, Subject string }
			Tokens         []struct{ Hash, Expires string }
			PasswordHashes []string `yaml:"password_hashes"`
			Listeners      []string
			UnsafeScripts  any `yaml:"unsafe_scripts"`
			Backend        string
			Limits         map[string]any
			Why, Owner     string
			Until          string
		}
		Tokens []struct {
			Name, Issuer, Login, Leeway string
			Audience, Algorithms        any
			OtherAudiences              any    `yaml:"other_audiences"`
			UserClaim                   string `yaml:"user_claim"`
			Keys                        struct {
				File, URL, CA string
				BearerFile    string `yaml:"bearer_file"`
				MaxAge        string `yaml:"max_age"`
			}
			Roles *struct {
				Claim string
				Map   map[string]any
			}
			Listeners         []string
			Why, Owner, Until string
		}
		ACLFile  string `yaml:"aclfile"`
		Channels string `yaml:"acl_pubsub_default"`
		Expiry   []struct {
			Keys, Require     any
			Max, Mode         string
			Why, Owner, Until string
		}
		Guard struct{ Categories, Never []string }
	}
)

func TestTheLibraryAgreesWithWhatIsAccepted(t *testing.T) {
	secondOpinion(t, []byte(documented), new(strictServer))
	secondOpinion(t, []byte(documentedPolicy), new(strictPolicy))
}
