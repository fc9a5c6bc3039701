package tlsutil

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	oidCN    = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrg   = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidDC    = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	oidEmail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)

// attribute is one of a subject as it goes on the wire.
type attribute struct {
	oid   asn1.ObjectIdentifier
	tag   int
	value string
}

// subject builds the DER of a subject with one attribute per RDN; several
// arguments in one slice share an RDN.
func subject(t testing.TB, rdns ...[]attribute) []byte {
	t.Helper()
	var seq []rawNameSET
	for _, rdn := range rdns {
		var set rawNameSET
		for _, a := range rdn {
			set = append(set, rawAttribute{a.oid, asn1.RawValue{Tag: a.tag, Bytes: []byte(a.value)}})
		}
		seq = append(seq, set)
	}
	der, err := asn1.Marshal(seq)
	check(t, err)
	return der
}

func cn(value string) []attribute { return []attribute{{oidCN, asn1.TagUTF8String, value}} }

// altName is one GeneralName: tag 1 is email, 2 DNS, 6 URI.
type altName struct {
	tag   int
	value string
}

func altNames(t testing.TB, names ...altName) []pkix.Extension {
	t.Helper()
	var list []asn1.RawValue
	for _, n := range names {
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n.tag, Bytes: []byte(n.value)})
	}
	der, err := asn1.Marshal(list)
	check(t, err)
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}}
}

// identify issues a certificate and reads it back as after a handshake.
func identify(t testing.TB, template *x509.Certificate) (*Identity, error) {
	t.Helper()
	p, err := newCA(t).Issue(template)
	check(t, err)
	return identityOfLeaf(p.Certificate.Leaf)
}

func identityOfLeaf(c *x509.Certificate) (*Identity, error) {
	return IdentityOf(tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}}})
}

func TestIdentity_reads_every_name(t *testing.T) {
	uri, err := url.Parse("spiffe://prod/ns/shop/sa/app")
	check(t, err)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	p, err := newCA(t).Issue(&x509.Certificate{
		Subject:        pkix.Name{CommonName: "app", Organization: []string{"Shop, Inc."}, Country: []string{"DE"}},
		DNSNames:       []string{"app.internal", "*.App.internal"},
		EmailAddresses: []string{"ops@shop.example"},
		IPAddresses:    []net.IP{net.IPv4(10, 0, 0, 1)},
		URIs:           []*url.URL{uri},
		SerialNumber:   big.NewInt(0x0abc),
		NotAfter:       end,
	})
	check(t, err)
	id, err := identityOfLeaf(p.Certificate.Leaf)
	check(t, err)
	sum := sha256.Sum256(p.Certificate.Certificate[0])
	if id.Subject != `CN=app,O=Shop\, Inc.,C=DE` || !slices.Equal(id.CommonNames, []string{"app"}) || id.Ambiguous {
		t.Errorf("subject: %+v", id)
	}
	if !slices.Equal(id.DNS, []string{"app.internal", "*.App.internal"}) || !slices.Equal(id.Email, []string{"ops@shop.example"}) || !slices.Equal(id.URI, []string{"spiffe://prod/ns/shop/sa/app"}) {
		t.Errorf("alternative names: %+v", id)
	}
	if id.Serial != "0abc" || id.SHA256 != hex.EncodeToString(sum[:]) || !id.NotAfter.Equal(end) {
		t.Errorf("serial, fingerprint or end: %+v", id)
	}
}

func TestIdentity_of_no_certificate_is_nil(t *testing.T) {
	if id, err := IdentityOf(tls.ConnectionState{}); id != nil || err != nil {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestIdentity_of_an_unverified_certificate_is_an_error(t *testing.T) {
	p := issueClient(t, newCA(t), "app")
	id, err := IdentityOf(tls.ConnectionState{PeerCertificates: []*x509.Certificate{p.Certificate.Leaf}})
	if id != nil || err == nil {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestIdentity_shows_every_common_name(t *testing.T) {
	for _, c := range []struct {
		name      string
		rdns      [][]attribute
		want      []string
		subject   string
		ambiguous bool
	}{
		{"none", [][]attribute{{{oidOrg, asn1.TagPrintableString, "Shop"}}}, nil, "O=Shop", false},
		{"an empty subject", nil, nil, "", false},
		{"an empty one", [][]attribute{cn("")}, nil, "CN=", false},
		{"two", [][]attribute{cn("app"), cn("admin")}, []string{"app", "admin"}, "CN=admin,CN=app", true},
		{"twice the same", [][]attribute{cn("app"), cn("app")}, []string{"app", "app"}, "CN=app,CN=app", true},
		{"two in one RDN", [][]attribute{append(cn("app"), cn("admin")...)}, []string{"app", "admin"}, "CN=app+CN=admin", true},
		{"one and an empty one", [][]attribute{cn("app"), cn("")}, []string{"app"}, "CN=,CN=app", true},
		{"one with other attributes", [][]attribute{{{oidDC, asn1.TagIA5String, "example"}}, cn("app")}, []string{"app"}, "CN=app,0.9.2342.19200300.100.1.25=#16076578616d706c65", false},
		{"case and spaces kept", [][]attribute{cn(" App ")}, []string{" App "}, `CN=\ App\ `, false},
		{"what would read as another subject, escaped", [][]attribute{cn("app,O=Shop+CN=admin")}, []string{"app,O=Shop+CN=admin"}, `CN=app\,O=Shop\+CN=admin`, false},
		{"beyond ASCII", [][]attribute{cn("größe")}, []string{"größe"}, "CN=größe", false},
		{"a BMPString", [][]attribute{{{oidCN, asn1.TagBMPString, "\x00a\x00p\x00p"}}}, []string{"app"}, "CN=app", false},
		{"a T61String of ASCII", [][]attribute{{{oidCN, asn1.TagT61String, "app"}}}, []string{"app"}, "CN=app", false},
		{"a number that is no name", [][]attribute{{{asn1.ObjectIdentifier{2, 5, 4, 45}, asn1.TagBitString, "\x00\x01"}}, cn("app")}, []string{"app"}, "CN=app,2.5.4.45=#03020001", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := &Identity{}
			check(t, id.readSubject(subject(t, c.rdns...)))
			if !slices.Equal(id.CommonNames, c.want) || id.Ambiguous != c.ambiguous || id.Subject != c.subject {
				t.Errorf("%q, ambiguous %v, %q", id.CommonNames, id.Ambiguous, id.Subject)
			}
		})
	}
}

func TestIdentity_refuses_names_that_do_not_print(t *testing.T) {
	org := func(v string) []attribute { return []attribute{{oidOrg, asn1.TagUTF8String, v}} }
	for name, rdns := range map[string][][]attribute{
		"a NUL in the CN":                  {cn("admin\x00.evil")},
		"a NUL at the end of the CN":       {cn("admin\x00")},
		"a NUL in the second CN":           {cn("app"), cn("ad\x00min")},
		"a line feed":                      {cn("app\n{\"event\":\"auth\"}")},
		"an escape sequence":               {cn("app\x1b[2J")},
		"DEL":                              {cn("app\x7f")},
		"a C1 control":                     {cn("app\u0085")},
		"text running right to left":       {cn("app\u202enimda")},
		"a zero-width space":               {cn("app\u200b")},
		"a no-break space":                 {cn("app\u00a0")},
		"a line separator":                 {cn("app\u2028")},
		"the replacement character":        {cn("app\ufffd")},
		"bytes that are no UTF-8":          {cn("app\xff")},
		"a control in the organisation":    {org("Shop\r\n"), cn("app")},
		"a control in an e-mail":           {{{oidEmail, asn1.TagIA5String, "a\x00@b"}}, cn("app")},
		"a T61String beyond ASCII":         {{{oidCN, asn1.TagT61String, "gr\xf6\xdfe"}}},
		"a BMPString with a NUL":           {{{oidCN, asn1.TagBMPString, "\x00a\x00\x00"}}},
		"a BMPString of odd length":        {{{oidCN, asn1.TagBMPString, "\x00a\x00"}}},
		"a BMPString with a surrogate":     {{{oidCN, asn1.TagBMPString, "\xd8\x00"}}},
		"a PrintableString beyond ASCII":   {{{oidCN, asn1.TagPrintableString, "gr\xc3\xb6"}}},
		"a UniversalString":                {{{oidCN, tagUniversalString, "\x00\x00\x00a"}}},
		"an organisation that is a number": {{{oidOrg, asn1.TagInteger, "\x01"}}, cn("app")},
		"a CN that is a number":            {{{oidCN, asn1.TagInteger, "\x01"}}},
	} {
		t.Run(name, func(t *testing.T) {
			id := &Identity{}
			err := id.readSubject(subject(t, rdns...))
			bad, ok := errors.AsType[*NameError](err)
			if !ok {
				t.Fatalf("%+v, %v", id, err)
			}
			if strings.ContainsFunc(bad.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Contains(bad.Error(), "admin") {
				t.Errorf("the error quotes the name: %q", bad.Error())
			}
		})
	}
}

func TestIdentity_refuses_alternative_names_that_do_not_print(t *testing.T) {
	for name, n := range map[string]altName{
		"a NUL in a DNS name":       {2, "app.internal\x00.evil"},
		"a line feed in a DNS name": {2, "app\n"},
		"a space in a DNS name":     {2, "app internal"},
		"DNS beyond ASCII":          {2, "gr\xc3\xb6\xc3\x9fe"},
		"an empty DNS name":         {2, ""},
		"a NUL in an e-mail":        {1, "ops@shop\x00.example"},
		"an empty e-mail":           {1, ""},
		"a NUL in a URI":            {6, "spiffe://prod/a\x00"},
		"a line feed in a URI":      {6, "spiffe://prod/a\nb"},
		"DEL in a URI":              {6, "spiffe://prod/\x7f"},
		"an empty URI":              {6, ""},
	} {
		t.Run(name, func(t *testing.T) {
			id := &Identity{}
			err := id.readAltNames(altNames(t, altName{2, "good.internal"}, n)[0].Value)
			if _, ok := errors.AsType[*NameError](err); !ok {
				t.Fatalf("%+v, %v", id, err)
			}
		})
	}
}

// x509 gives URIs parsed; printed again, these would be other names.
func TestIdentity_keeps_URIs_as_they_are_written(t *testing.T) {
	want := []string{"SPIFFE://Prod/App", "spiffe://prod/a%2Fb", "spiffe://prod/%61", "spiffe://prod/app?", "spiffe://prod//app/../x"}
	var names []altName
	for _, u := range want {
		names = append(names, altName{6, u})
	}
	id, err := identify(t, &x509.Certificate{ExtraExtensions: altNames(t, names...)})
	check(t, err)
	if !slices.Equal(id.URI, want) {
		t.Errorf("%q", id.URI)
	}
}

func TestIdentity_passes_over_kinds_that_name_nobody(t *testing.T) {
	der, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: []byte{10, 0, 0, 1}},
		{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a, 3}},
		{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("app")},
	})
	check(t, err)
	id := &Identity{}
	check(t, id.readAltNames(der))
	if !slices.Equal(id.DNS, []string{"app"}) || len(id.Email)+len(id.URI) != 0 {
		t.Errorf("%+v", id)
	}
}

func TestIdentity_refuses_damaged_names(t *testing.T) {
	id := &Identity{}
	for _, der := range [][]byte{nil, {}, {0x30}, {0x30, 3, 1}, {0x31, 0}, append(subject(t, cn("app")), 0)} {
		if err := id.readSubject(der); err == nil {
			t.Errorf("subject % x was taken", der)
		}
	}
	for _, der := range [][]byte{nil, {0x30}, {0x30, 3, 0x82, 5, 'a'}, {0x30, 2, 0x82, 0}, {0x30, 2, 0x0c, 0}, {0x30, 4, 0xa2, 2, 0x0c, 0}, {0x30, 0, 0}} {
		if err := id.readAltNames(der); err == nil {
			t.Errorf("alternative names % x were taken", der)
		}
	}
}

// FuzzNames feeds a subject and a list of alternative names, which the fuzzer
// seldom gets right inside a whole certificate.
func FuzzNames(f *testing.F) {
	f.Add(subject(f, cn("app"), cn("admin")), altNames(f, altName{1, "a@b"}, altName{2, "a.b"}, altName{6, "spiffe://a/b"})[0].Value)
	f.Add(subject(f, []attribute{{oidCN, asn1.TagBMPString, "\x00a"}, {oidDC, asn1.TagIA5String, "x"}, {oidOrg, asn1.TagT61String, "o"}}), altNames(f, altName{7, "\x7f\x00\x00\x01"})[0].Value)
	f.Add(subject(f, cn("a\x00b,+\"\\<>;# ")), altNames(f, altName{2, "a\x00b"})[0].Value)
	f.Fuzz(func(t *testing.T, subject, names []byte) {
		id := &Identity{}
		for _, err := range []error{id.readSubject(subject), id.readAltNames(names)} {
			if _, ok := errors.AsType[*NameError](err); err != nil && !ok {
				t.Fatal(err)
			}
		}
		for _, name := range slices.Concat(id.CommonNames, id.DNS, id.Email, id.URI, []string{id.Subject}) {
			if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q was taken", name)
			}
		}
	})
}

// FuzzIdentity feeds whole certificates. What is taken has to be printable in
// every name, and the CNs have to be those Go itself sees.
func FuzzIdentity(f *testing.F) {
	ca := newCA(f)
	uri, err := url.Parse("spiffe://prod/app")
	check(f, err)
	for _, template := range []*x509.Certificate{
		{Subject: pkix.Name{CommonName: "app"}, URIs: []*url.URL{uri}},
		{RawSubject: subject(f, cn("app"), cn("admin")), DNSNames: []string{"a.b"}, EmailAddresses: []string{"a@b"}},
		{RawSubject: subject(f, []attribute{{oidCN, asn1.TagBMPString, "\x00a"}, {oidDC, asn1.TagIA5String, "x"}})},
		{Subject: pkix.Name{CommonName: "a\x00b"}, IPAddresses: []net.IP{net.IPv6loopback}},
		{ExtraExtensions: altNames(f, altName{2, "a\x00b"}, altName{6, "spiffe://a/b"})},
	} {
		p, err := ca.Issue(template)
		check(f, err)
		f.Add(p.Certificate.Certificate[0])
	}
	f.Add(ca.cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := identityOfLeaf(c)
		if err != nil {
			if _, ok := errors.AsType[*NameError](err); !ok || id != nil {
				t.Fatalf("%+v, %v", id, err)
			}
			return
		}
		for _, name := range slices.Concat(id.CommonNames, id.DNS, id.Email, id.URI, []string{id.Subject}) {
			if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q was taken", name)
			}
		}
		var theirs []string
		for _, a := range c.Subject.Names {
			if text, ok := a.Value.(string); ok && a.Type.Equal(oidCN) && text != "" {
				theirs = append(theirs, text)
			}
		}
		if !slices.Equal(id.CommonNames, theirs) {
			t.Errorf("common names %q, x509 sees %q", id.CommonNames, theirs)
		}
		if !slices.Equal(id.DNS, c.DNSNames) || !slices.Equal(id.Email, c.EmailAddresses) || len(id.URI) != len(c.URIs) {
			t.Errorf("%+v, x509 sees %q %q %v", id, c.DNSNames, c.EmailAddresses, c.URIs)
		}
	})
}
