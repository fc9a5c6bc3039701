package config

import (
	"slices"

	"github.com/sallyport/sallyport/proxy/backend"
)

// route is one entry of routes: of a listener.
type route struct {
	prefix  text
	backend string
	at      value // backend:
}

// maxRoutes bounds the table of a listener.
const maxRoutes = 10000

// readRoutes reads which keys belong to another backend than the listener's.
func (l *listener) readRoutes(v value) {
	items := v.list()
	switch {
	case !v.present() || v.failedHere():
		return
	case len(items) == 0:
		v.faultHint("remove it", "is empty")
	case len(items) > maxRoutes:
		v.fault("has more than %d entries", maxRoutes)
		return
	}
	first := make(map[string]int, len(items))
	for _, item := range items {
		s := item.section()
		r := route{prefix: s.required("prefix").nonempty(), at: s.required("backend")}
		r.backend = r.at.nonempty().Value
		s.close()
		if r.prefix.Value == "" || r.backend == "" {
			continue
		}
		if line, twice := first[r.prefix.Value]; twice {
			s.get("prefix").fault("%s stands in line %d already", quoted(r.prefix.Value), line)
			continue
		}
		first[r.prefix.Value] = r.prefix.At.Line
		l.routes = append(l.routes, r)
	}
	l.routesAt = v
}

// lead gives each route of a listener its backend, and makes the table.
func (r *reader) lead(c *Config, l *listener, names []string) {
	var table []backend.Prefix
	for _, to := range l.routes {
		i := slices.Index(names, to.backend)
		if i < 0 {
			to.at.faultHint(DidYouMean(to.backend, names), "there is no backend %s", quoted(to.backend))
			continue
		}
		c.backends[i].used = true
		table = append(table, backend.Prefix{Prefix: to.prefix.Value, Backend: to.backend})
	}
	if len(table) == 0 || len(table) < len(l.routes) {
		return
	}
	var err error
	if l.prefixes, err = backend.NewPrefixes(l.backend, table); err != nil {
		l.routesAt.fault("%s", err)
	}
}

// Routes says which keys of clients of a listener belong to which backend; nil: all
// to one.
func (c *Config) Routes(listener string) *backend.Prefixes {
	for _, l := range c.listeners {
		if l.name.Value == listener {
			return l.prefixes
		}
	}
	return nil
}
