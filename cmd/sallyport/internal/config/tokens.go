package config

import (
	"crypto/x509"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
)

// tokens reads tokens:, whose tokens are taken and what is demanded of them.
func (r *reader) tokens(v value) (sources []acl.TokenSource, issuers []token.Issuer) {
	for _, item := range v.list() {
		s := item.section()
		source, issuer := r.issuer(s)
		if !s.present() {
			continue
		}
		r.judgeIssuer(s, issuer, issuers)
		if issuer.Name == "" {
			continue // a fault already
		}
		sources, issuers = append(sources, source), append(issuers, issuer)
	}
	return sources, issuers
}

func (r *reader) issuer(s *section) (acl.TokenSource, token.Issuer) {
	name := s.required("name").name()
	source := acl.TokenSource{
		Name: name.Text, Listeners: s.get("listeners").names(), Login: s.get("login").nonempty().Text, Note: s.note(),
	}
	issuer := token.Issuer{
		Name:       name.Value,
		Issuer:     s.required("issuer").nonempty().Value,
		Audience:   plain(s.required("audience").names()),
		Others:     plain(s.get("other_audiences").names()),
		Algorithms: plain(s.required("algorithms").names()),
		Keys:       r.tokenKeys(s.required("keys").section()),
		UserClaim:  s.get("user_claim").nonempty().Value,
		Leeway:     s.get("leeway").duration(0, false),
	}
	roles := s.get("roles").section()
	issuer.Roles.Claim = roles.required("claim").nonempty().Value
	issuer.Roles.Map = make(map[string][]string)
	roles.required("map").section().each(func(claim acl.Text, v value) {
		given := v.names()
		issuer.Roles.Map[claim.Value] = plain(given)
		source.Roles = append(source.Roles, given...)
	})
	roles.close()
	s.close()
	return source, issuer
}

// tokenKeys reads where an issuer's public keys come from.
func (r *reader) tokenKeys(s *section) token.Keys {
	file, url := s.get("file"), s.get("url")
	k := token.Keys{URL: url.nonempty().Value, MaxAge: s.get("max_age").duration(0, false)}
	ca, bearer := s.get("ca").named(), s.get("bearer_file").passwordFile()
	k.BearerFile = bearer.path
	if ca.path != "" {
		data, err := readBounded(ca.path, maxFile)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			ca.fault("can't read %s: %s", quoted(ca.written), reasonOf(err))
		case !pool.AppendCertsFromPEM(data):
			ca.fault("%s holds no certificate", quoted(ca.written))
		default:
			k.CA = pool
		}
	}
	if f := file.named(); f.path != "" {
		k.File = f.path
		if info, err := token.ReadKeyFile(f.path); err != nil {
			f.fault("%s: %s", f.written, strings.TrimPrefix(reasonOf(err), f.path+": "))
		} else if info.Usable == 0 {
			f.fault("%s holds no key that can be used", f.written)
		}
	}
	s.close()
	return k
}

// judgeIssuer says what is wrong with an issuer as a whole. What is missing is
// said already.
func (r *reader) judgeIssuer(s *section, i token.Issuer, others []token.Issuer) {
	if i.Name == "" || i.Issuer == "" || len(i.Audience) == 0 || len(i.Algorithms) == 0 {
		return
	}
	for _, other := range others {
		if other.Issuer == i.Issuer {
			s.get("issuer").fault("%s has this issuer, too", quoted(other.Name))
		}
	}
	err := i.Validate()
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		key, what, ok := strings.Cut(strings.TrimSpace(line), ": ")
		at := s.value
		if v, known := s.entries[strings.Split(key, ".")[0]]; ok && known {
			at = v.value
		} else if ok {
			what = key + ": " + what
		} else {
			what = key
		}
		if !at.failedHere() {
			at.fault("%s", what)
		}
	}
}

func plain(list []acl.Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}
