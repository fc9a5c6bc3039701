// Package admin looks at the proxy and steers it over HTTP.
//
//	GET  /livez  /readyz  /metrics  /version  /api/v1/sessions
//	POST /api/v1/drain  /api/v1/reload
//
// It listens on loopback or on a unix socket only: whoever can connect may
// look and steer, so the machine's own borders are the border here. What is left
// to guard against is a browser on the same machine being made to speak for
// somebody else: the Host header must name this machine (DNS rebinding), and
// writes must not come from another site.
//
// Invariant: every answer is JSON or the metrics' text, every error a problem
// details object (RFC 9457), and no request holds a connection for longer than
// the time limits say.
package admin
