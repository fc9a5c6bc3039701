package proxy_test

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// readings are what one scrape says, by series.
type readings struct {
	t      testing.TB
	series map[string]float64
}

func (r *rig) scrape(t testing.TB) readings {
	t.Helper()
	rec := httptest.NewRecorder()
	r.server.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	m := readings{t: t, series: map[string]float64{}}
	for line := range strings.Lines(rec.Body.String()) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		m.series[line[:at]] = v
	}
	return m
}

// value is a series that must be there.
func (m readings) value(series string) float64 {
	m.t.Helper()
	v, ok := m.series[series]
	if !ok {
		m.t.Fatalf("no series %s", series)
	}
	return v
}
