package redistest

import "strconv"

// Option changes how Start and Open run redis-server.
type Option func(*settings)

// settings is what the options add up to.
type settings struct {
	port     int // 0: a free one
	unix     bool
	password string
	tls      *tlsFiles
	bus      bool // it has a cluster bus, on a port of the rig's choice
	args     []string
	watch    []string // a Sentinel's own directives; nil: an ordinary server
}

type tlsFiles struct{ cert, key, ca string }

// Port asks for a certain TCP port instead of a free one. A port in use is an error then, not a reason to try another.
func Port(port int) Option { return func(s *settings) { s.port = port } }

// Unix makes the server listen on a unix socket only: Network is "unix", Addr its path, Port 0.
func Unix() Option { return func(s *settings) { s.unix = true } }

// RequirePass sets the password of user default, as requirepass does.
func RequirePass(password string) Option { return func(s *settings) { s.password = password } }

// TLS makes the TCP port speak TLS only and demand client certificates signed by ca. The three are PEM files.
// Args("--tls-auth-clients", "no") lifts the demand.
func TLS(cert, key, ca string) Option {
	return func(s *settings) { s.tls = &tlsFiles{cert: cert, key: key, ca: ca} }
}

// Args adds redis-server arguments, such as Args("--maxclients", "10"). They come last, so they win.
func Args(args ...string) Option { return func(s *settings) { s.args = append(s.args, args...) } }

// clustered gives a node of a cluster a free port for its bus.
func clustered(s *settings) { s.bus = true }

// config is the text of redis.conf for these settings; socket is the rig's own way in.
func (s *settings) config(dir, socket string, port int) string {
	plain, secure := port, 0
	if s.tls != nil {
		plain, secure = 0, port
	}
	lines := [][2]string{
		{"bind", "127.0.0.1"},
		{"port", strconv.Itoa(plain)},
		{"unixsocket", socket},
		{"unixsocketperm", "700"},
		{"dir", dir},
		{"daemonize", "no"},
	}
	if s.watch == nil {
		lines = append(lines, [][2]string{
			{"save", `""`},
			{"appendonly", "no"},
			{"enable-debug-command", "local"},
			{"repl-diskless-sync-delay", "0"}, // a replica is not to wait for company
		}...)
	}
	if s.tls != nil {
		lines = append(lines,
			[2]string{"tls-port", strconv.Itoa(secure)},
			[2]string{"tls-cert-file", quote(s.tls.cert)},
			[2]string{"tls-key-file", quote(s.tls.key)},
			[2]string{"tls-ca-cert-file", quote(s.tls.ca)},
		)
	}
	if s.password != "" {
		lines = append(lines, [2]string{"requirepass", quote(s.password)})
	}
	text := ""
	for _, l := range lines {
		text += l[0] + " " + l[1] + "\n"
	}
	for _, l := range s.watch {
		text += l + "\n"
	}
	return text
}

// quote writes a value as redis.conf reads it back byte for byte.
func quote(value string) string {
	out := []byte{'"'}
	for i := 0; i < len(value); i++ {
		switch b := value[i]; {
		case b == '"' || b == '\\':
			out = append(out, '\\', b)
		case b < ' ' || b >= 0x7f:
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'x', hex[b>>4], hex[b&15])
		default:
			out = append(out, b)
		}
	}
	return string(append(out, '"'))
}
