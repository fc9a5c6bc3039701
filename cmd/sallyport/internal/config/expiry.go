package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// expiry reads expiry: of policy.yaml, how long keys of a pattern may live.
func (r *reader) expiry(v value) []acl.ExpirySource {
	var out []acl.ExpirySource
	for _, item := range v.list() {
		s := item.section()
		keys, require, most := s.required("keys"), s.get("require"), s.get("max")
		e := acl.ExpirySource{
			At: item.at, Keys: keys.names(), Require: require.flag(), Max: most.span(), Note: s.note(),
		}
		if s.get("mode").word("refuse", "refuse", "report") == "report" {
			e.Mode = acl.Report
		}
		s.close()
		if s.present() && !require.present() && !most.present() {
			item.faultHint("require: true, max: 30d, or both", "asks for nothing")
			continue
		}
		if len(e.Keys) > 0 && (e.Max > 0 || !most.present()) {
			out = append(out, e) // else a fault already
		}
	}
	return out
}

// span is duration that may be written in days, as 30d; absent is 0.
func (v value) span() time.Duration {
	t := v.text()
	if !t.set || v.failedHere() {
		return 0
	}
	days, ok := strings.CutSuffix(t.Value, "d")
	if !ok || !isDigits(days) {
		return v.duration(0, false)
	}
	n, err := strconv.Atoi(days)
	if err != nil || n < 1 || n > 3650 {
		v.fault("%s is not between 1d and 3650d", quoted(t.Value))
		return 0
	}
	return time.Duration(n) * 24 * time.Hour
}
