// Package admin looks at the proxy and steers it over HTTP; /openapi.json
// describes every endpoint.
//
// On loopback or on a unix socket it may be open: whoever can connect may look
// and steer, so the machine's own borders are the border there. On any other
// address it speaks mutual TLS only, and a certificate or a bearer token says who
// somebody is: a viewer looks, a member ends sessions and reloads, an owner drains.
//
// A browser may be made to speak for somebody else: the Host header must name
// this machine or the certificate (DNS rebinding), writes must not come from
// another site and carry JSON or nothing, and no cookie is looked at.
//
// Invariant: every answer is JSON or the metrics' text, every error a problem
// details object (RFC 9457), no request holds a place for longer than the time
// limits say, and one that is not whole yet makes room for those that are.
package admin
