package tlsutil

import (
	"crypto/tls"
	"fmt"
)

// cipherSuites12 are the TLS 1.2 suites on offer: ephemeral key exchange and
// authenticated encryption only. Go's own default still holds CBC with SHA-1.
// TLS 1.3's suites are all of this kind and can't be chosen.
func cipherSuites12() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// keyExchanges are the groups on offer, the post-quantum hybrids first. A list
// that is set at all has to name them, or they are off.
func keyExchanges() []tls.CurveID {
	return []tls.CurveID{
		tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024,
		tls.X25519, tls.CurveP256, tls.CurveP384,
	}
}

// baseline is what every configuration of this package starts from. minVersion
// is what lowestVersion gave.
func baseline(minVersion uint16) *tls.Config {
	return &tls.Config{
		MinVersion:       minVersion,
		CipherSuites:     cipherSuites12(),
		CurvePreferences: keyExchanges(),
		// The event loop writes a whole turn's replies at once; records that
		// start small would only make more of them.
		DynamicRecordSizingDisabled: true,
	}
}

// ParseVersion reads a configured TLS version, "1.2" or "1.3". Older ones, and
// everything else, are an error.
func ParseVersion(s string) (uint16, error) {
	switch s {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, &Fault{Setting: "min_version", What: fmt.Sprintf("%.20q is not a TLS version", s), Hint: `"1.2" or "1.3"`}
}

// lowestVersion gives the version to configure for one from the options: 0
// stands for TLS 1.2, and nothing older can be asked for.
func (l *loader) lowestVersion(v uint16) uint16 {
	switch v {
	case 0, tls.VersionTLS12:
		return tls.VersionTLS12
	case tls.VersionTLS13:
		return tls.VersionTLS13
	}
	l.fault("min_version", "", fmt.Sprintf("%s can't be the lowest version", tls.VersionName(v)), `"1.2" or "1.3"`, nil)
	return tls.VersionTLS13
}
