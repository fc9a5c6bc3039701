package main

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/spf13/cobra"
)

func newExplain(std streams) *cobra.Command {
	var path, from, listener string
	var asJSON bool
	var by bearer
	cmd := &cobra.Command{
		Use:   "explain --config FILE [flags] USER COMMAND [ARG…]",
		Short: "Say whether a user may run a command, and which rule decides",
		Long: `Explain judges a command as serve would, with the same code, and says which rule
decides, in which file, line and column. Nothing is sent anywhere.

With --from it also says at which listeners somebody from that address may speak
for the user, by which proofs, and which of the user's roles hold there; the
command is judged with those, at the first listener that lets the user in or at
the one --listener names. "unix" stands for a client of a unix socket.

With --listener alone the command is read as that listener names commands: where
it renames or disables some, old names are unknown commands there. Rules and
decisions are always about the real ones.

With --token-issuer the user is somebody who comes by a token of that issuer: USER
is the value of its user claim, --token-roles or --token-claims say what roles it
brings. With --token-stdin the token itself is read from standard input and
verified first, as token inspect does, over the network where keys come from
there. Another proof that the user needs besides is shown as missing.

Flags come before the user: what follows belongs to the command. Quote * and >
for the shell.

Decisions: allowed; refused; answered locally, for what clients and tools ask
while they connect, where the user may not run it and gets a reduced answer from
the proxy instead of a refusal.

Exit codes: 0 allowed or answered locally, 1 refused, 2 bad usage or configuration.`,
		Example: `  sallyport explain --config sallyport.yaml app GET app:1
  sallyport explain --config sallyport.yaml --from 10.1.2.3 app FLUSHALL
  sallyport explain --config sallyport.yaml --json app ZRANGE app:board 0 -1`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := load(std, path)
			if err != nil {
				return err
			}
			claims, err := by.claims(cmd.Context(), std, cfg, args[0])
			if err != nil {
				return err
			}
			v, err := explain(cfg, whence{from, listener, claims}, args[0], args[1:])
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(std, v)
			} else {
				err = v.print(std.out)
			}
			if err == nil && v.Decision == refused {
				err = &exit{code: exitFailure}
			}
			return err
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&from, "from", "", "judge the client's `address` as well")
	cmd.Flags().StringVar(&listener, "listener", "", "the one `listener` the client comes to")
	by.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// The decisions explain knows.
const (
	allowed  = "allowed"
	refused  = "refused"
	answered = "answered"
)

// explanation is what explain found out, in the form of its JSON.
type explanation struct {
	User      string         `json:"user"`
	Command   string         `json:"command"`
	Decision  string         `json:"decision"`
	Reported  bool           `json:"reported,omitempty"` // passes only because a layer is in report mode
	Lifted    bool           `json:"lifted,omitempty"`   // guarded, and named by the user's rules
	Local     bool           `json:"local,omitempty"`    // the proxy itself answers it
	Reason    string         `json:"reason,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Argument  string         `json:"argument,omitempty"` // the key or channel at fault
	Rule      *ruleAt        `json:"rule,omitempty"`
	Guard     *ruleAt        `json:"guard,omitempty"` // the guarded category the command is in
	Selectors []selectorSaid `json:"selectors,omitempty"`
	Expiry    *expirySaid    `json:"expiry,omitempty"`
	From      []fromSaid     `json:"from,omitempty"`
	Named     *namedSaid     `json:"named,omitempty"`
	Backends  []placeSaid    `json:"backends,omitempty"` // of the keys, where routes have a say
}

// placeSaid is the backend that a key belongs to.
type placeSaid struct {
	Listener string `json:"listener"`
	Key      string `json:"key"`
	Backend  string `json:"backend"`
}

// namedSaid is a command that a listener renames or disables.
type namedSaid struct {
	Listener string `json:"listener"`
	Name     string `json:"name,omitempty"` // there; empty: it has none
	Command  string `json:"command"`
}

// expirySaid is what expiry: has to do with the call.
type expirySaid struct {
	Rule     *ruleAt `json:"rule"`
	Argument string  `json:"argument,omitempty"`
	Says     string  `json:"says"`
}

type ruleAt struct {
	Text   string `json:"text"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

type selectorSaid struct {
	Selector string  `json:"selector"`
	Decision string  `json:"decision"`
	Reason   string  `json:"reason,omitempty"`
	Rule     *ruleAt `json:"rule,omitempty"`
	Decides  bool    `json:"decides,omitempty"`
}

type fromSaid struct {
	Listener string  `json:"listener"`
	Address  string  `json:"address"`
	Decision string  `json:"decision"`
	Rule     *ruleAt `json:"rule,omitempty"`

	// What follows is about the user, where the address is let in.
	Reason   string     `json:"reason,omitempty"`    // why nobody may speak for the user there
	UserFrom *ruleAt    `json:"user_from,omitempty"` // the entry of the user's from: that holds the address
	Methods  []string   `json:"methods,omitempty"`   // by which the user can be proved
	Requires []string   `json:"requires,omitempty"`  // the proofs that are needed together
	Roles    []roleSaid `json:"roles,omitempty"`
	Judged   bool       `json:"judged,omitempty"` // the command is judged as here

	user *acl.User // nil: Reason says why
}

type roleSaid struct {
	Role   string `json:"role"`
	Holds  bool   `json:"holds"`
	Reason string `json:"reason,omitempty"`
}

// whence is where a client is said to come from and to, and by which token.
type whence struct {
	from, listener string
	token          *acl.TokenClaims // nil: by none
}

func explain(cfg *config.Config, w whence, user string, words []string) (*explanation, error) {
	v := &explanation{User: user, Command: strings.ToLower(words[0])}
	u := cfg.Policy.User(user)
	there := false // a user who may log in is in u
	if w.listener != "" && !slices.Contains(cfg.Listeners(), w.listener) {
		return nil, usage("--listener %q: there has to be one of that name; known: %s", w.listener, strings.Join(cfg.Listeners(), ", "))
	}
	at := w.listener    // whose names for commands count
	var addr netip.Addr // invalid for a unix socket
	if w.from != "" {
		var err error
		if w.from != "unix" {
			if addr, err = netip.ParseAddr(w.from); err != nil {
				return nil, usage("--from %q is not an IP address", w.from)
			}
		}
		if !v.admit(cfg, addr, w.listener) {
			return v, nil
		}
		if w.token == nil && u != nil && u.Enabled() {
			if u = v.login(); u == nil {
				return v, nil
			}
			there = true
			for _, f := range v.From {
				if f.Judged {
					at = f.Listener
				}
			}
		}
	}
	if w.token != nil {
		if u, at = v.byToken(cfg, w, addr); u == nil {
			return v, nil
		}
		there = true
	}
	switch {
	case u == nil:
		v.refuse(acl.NoSuchUser, "there is no such user; "+known(cfg))
		return v, nil
	case !there && !u.Enabled():
		v.refuse(acl.UserDisabled, "the user is off and can't log in")
		v.Rule = rule(&acl.Rule{Text: "user " + user, At: u.At()})
		return v, nil
	}
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	var call command.Call
	names := cfg.Names(at)
	var err error
	if names != nil {
		err = names.Translate(args)
	}
	if err == nil {
		err = cfg.Table.Parse(args, &call)
	}
	v.called(at, names, words, call.Spec)
	if err != nil {
		v.fault(err, &call)
		if errors.Is(err, command.Unknown) && cfg.Discovers() {
			v.Detail = "the table holds no such command; if the running proxy learns it from a backend, it takes a rule that names it, with ~* and &*"
		}
		return v, nil
	}
	v.judge(cfg, u, &call)
	v.place(cfg, at, u, &call)
	return v, nil
}

// place says which backend each key belongs to at a listener with routes: the one
// the client comes to or, where that isn't said, the only one there is.
func (v *explanation) place(cfg *config.Config, listener string, u *acl.User, call *command.Call) {
	if all := cfg.Listeners(); listener == "" && len(all) == 1 {
		listener = all[0]
	}
	table := cfg.Routes(listener)
	if table == nil {
		return
	}
	for _, k := range call.Keys {
		key := call.Args[k.Arg]
		said := placeSaid{listener, string(key), table.Backend(key)}
		if table.Of(key) == 0 && u.Backend() != "" {
			said.Backend = u.Backend() // its own, for all that no prefix names
		}
		if !slices.Contains(v.Backends, said) {
			v.Backends = append(v.Backends, said)
		}
	}
}

// called says what a listener that names commands otherwise makes of these words.
func (v *explanation) called(listener string, names *command.Names, words []string, spec *command.Spec) {
	if names == nil {
		return
	}
	if spec != nil {
		if name, ok := names.Name(spec); ok && name != spec.Name {
			v.Named = &namedSaid{listener, name, spec.Name}
			return
		}
	}
	for _, n := range []int{2, 1} { // config set, then config
		if len(words) >= n {
			real := strings.ToLower(strings.Join(words[:n], "|"))
			if here, changed := names.Changed()[real]; changed {
				v.Named = &namedSaid{listener, here, real}
				return
			}
		}
	}
}

// admit judges the address by every listener's allow list, and the user there;
// one that lets the address in is enough.
func (v *explanation) admit(cfg *config.Config, addr netip.Addr, only string) bool {
	in := false
	for _, name := range cfg.Listeners() {
		tcp := slices.Contains(cfg.ListenersOverTCP(), name)
		if tcp != addr.IsValid() || only != "" && only != name {
			continue
		}
		said := fromSaid{Listener: name, Address: "unix", Decision: allowed}
		if tcp {
			d := cfg.Policy.AdmitAddr(name, addr)
			said.Address, said.Rule = addr.String(), rule(d.Rule)
			if !d.Allowed {
				said.Decision = refused
			}
		}
		if said.Decision == allowed {
			in = true
			said.enter(cfg.Policy, v.User, addr)
		}
		v.From = append(v.From, said)
	}
	if !in {
		v.refuse(acl.AddressNotAllowed, "no listener lets this address in")
	}
	return in
}

// enter says who may speak for the user there.
func (f *fromSaid) enter(p *acl.Policy, user string, addr netip.Addr) {
	e := p.ExplainLogin(user, f.Listener, addr, time.Now())
	f.user, f.UserFrom, f.Requires = e.User, rule(e.From), e.Requires.Names()
	if e.Reason != acl.None {
		f.Reason = e.Reason.String()
	}
	for _, m := range e.Methods {
		f.Methods = append(f.Methods, m.String())
	}
	for _, r := range e.Roles {
		said := roleSaid{Role: r.Name, Holds: r.Reason == acl.None}
		if !said.Holds {
			said.Reason = r.Reason.String()
		}
		f.Roles = append(f.Roles, said)
	}
}

// login gives the user as it is at the first listener that lets it in, nil
// after saying why there is none.
func (v *explanation) login() *acl.User {
	var first *fromSaid
	for i := range v.From {
		f := &v.From[i]
		if f.user != nil {
			f.Judged = true
			return f.user
		}
		if f.Decision == allowed && first == nil {
			first = f
		}
	}
	v.Decision, v.Reason, v.Detail = refused, first.Reason, "nobody from there may speak for the user"
	return nil
}

func (v *explanation) refuse(reason acl.Reason, detail string) {
	v.Decision, v.Reason, v.Detail = refused, reason.String(), detail
}

// known names the users, as long as they are few.
func known(cfg *config.Config) string {
	var names []string
	for _, u := range cfg.Policy.Users() {
		names = append(names, u.Name())
	}
	if len(names) == 0 || len(names) > 20 {
		return "policy.yaml defines them"
	}
	return "known: " + strings.Join(names, ", ")
}

// fault is for words that are no call: the client would get an error whoever asks.
func (v *explanation) fault(err error, call *command.Call) {
	if call.Spec != nil {
		v.Command = call.Spec.Name
	}
	switch {
	case errors.Is(err, command.UnknownSubcommand):
		v.refuse(acl.UnknownSubcommand, "there is no such subcommand")
	case errors.Is(err, command.WrongArity):
		v.refuse(acl.WrongArity, "wrong number of arguments")
	case errors.Is(err, command.NoKeys):
		v.refuse(acl.KeysNotFound, "its keys can't be determined from these arguments")
	default:
		v.refuse(acl.UnknownCommand, "there is no such command")
	}
}

func (v *explanation) judge(cfg *config.Config, u *acl.User, call *command.Call) {
	e := cfg.Policy.Explain(u, call)
	v.Command = call.Spec.Name
	v.Reported, v.Lifted, v.Rule = e.Reported, e.Lifted, rule(e.Rule)
	v.Guard = rule(e.Guard.Category)
	for _, s := range e.Selectors {
		said := selectorSaid{Selector: s.Label, Decision: allowed, Rule: rule(s.Rule), Decides: s.Decide}
		for _, r := range []acl.Reason{s.ACL, s.Guard} {
			if r != acl.None {
				said.Decision, said.Reason = refused, r.String()
				break
			}
		}
		v.Selectors = append(v.Selectors, said)
	}
	if e.Reason != acl.None {
		v.Reason = e.Reason.String()
		v.Detail = detail(e, call)
	}
	if e.Arg > 0 && e.Arg < len(call.Args) {
		v.Argument = string(call.Args[e.Arg])
	}
	if x := e.Expiry; x.Rule != nil {
		v.Expiry = &expirySaid{Rule: rule(x.Rule), Says: x.Says}
		if x.Arg > 0 && x.Arg < len(call.Args) {
			v.Expiry.Argument = string(call.Args[x.Arg])
		}
	}
	switch {
	case e.Allowed && !proxy.Offered(call):
		v.Decision = refused
		v.Reason = acl.CommandUnsupported.String()
		v.Detail = "the rules allow it, but it needs a backend connection of its own, which this version does not offer"
		if call.Class == command.Local {
			v.Detail = "the rules allow it, but this version of the proxy does not offer it"
		}
	case e.Allowed:
		v.Decision, v.Local = allowed, call.Class == command.Local
	case !cfg.RefusesProbes() && proxy.Probed(u, call, e.Decision):
		v.Decision = answered
	default:
		v.Decision = refused
	}
}

// detail says a reason in a sentence.
func detail(e acl.Explanation, call *command.Call) string {
	switch e.Reason {
	case acl.CommandNotAllowed:
		if e.Rule != nil {
			return "a rule takes the command away"
		}
		return "no rule gives the command"
	case acl.KeyNotAllowed:
		if e.Option != "" {
			return e.Option + " reads keys it does not name, so it needs every key"
		}
		return "no pattern covers the key"
	case acl.ChannelNotAllowed:
		return "no pattern covers the channel"
	case acl.Guarded:
		return "the command is guarded: only a rule that names it (+" + call.Spec.Name + ") allows it, no category does"
	case acl.Never:
		return "the command is on the never list, which no rule lifts"
	case acl.KeyspaceWide:
		return "the command reaches keys it does not name, so it needs ~*"
	case acl.ScriptConfined:
		return "a script reaches every key, so it needs ~* &* +@all"
	case acl.TTLRequired:
		return "the key would be left without an expiry, or with a later one than its pattern allows"
	case acl.CommandRefused:
		return "the proxy never forwards this command"
	}
	return ""
}

func rule(r *acl.Rule) *ruleAt {
	if r == nil {
		return nil
	}
	return &ruleAt{r.Text, r.At.File, r.At.Line, r.At.Column}
}
