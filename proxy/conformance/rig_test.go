package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
	"go.uber.org/zap"
)

// rig is a server, and a proxy before it that adds no rule of its own: the
// guard is off, nothing is on the never list, and whoever comes is user
// default with all rights, as on the server itself.
type rig struct {
	node    *redistest.Server
	proxied string // the proxy's address
	spy     *spy   // of the tests that ask what the node ran
}

func start(t testing.TB, opts ...redistest.Option) *rig {
	t.Helper()
	node := redistest.Start(t, opts...)
	return &rig{node: node, proxied: front(t, node.Addr())}
}

// front starts a proxy before a node and gives its address.
func front(t testing.TB, node string) string {
	t.Helper()
	return frontOf(t, backend.Options{Nodes: []backend.Endpoint{{Network: "tcp", Address: node}}})
}

// frontOf is front for any deployment.
func frontOf(t testing.TB, behind backend.Options) string {
	t.Helper()
	text := func(s string) acl.Text { return acl.Text{Value: s} }
	policy, problems := acl.Compile(acl.Source{
		Table:     command.Newest(),
		Users:     []acl.UserSource{{Name: text("default"), Rules: text("on nopass ~* &* +@all")}},
		Guard:     acl.GuardSource{Categories: []acl.Text{}, Never: []acl.Text{}},
		Modes:     acl.Modes{Guard: acl.Off},
		Listeners: []acl.ListenerSource{{Name: text("plain"), Anonymous: true}},
	})
	if policy == nil {
		t.Fatal(problems)
	}
	record, err := audit.New(audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limits := proxy.DefaultLimits()
	limits.AuthFailureDelay = -1
	server, err := proxy.NewServer(proxy.Options{
		Listeners: []proxy.ListenerOptions{{Name: "plain", Network: "tcp", Address: "127.0.0.1:0", Backend: "main"}},
		Backends:  map[string]backend.Options{"main": behind},
		Policy:    policy, Table: command.Newest(), Limits: limits, Auth: proxy.Auth{NoThrottle: true},
		Recorder: record, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := record.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error("closing the record:", err)
		}
	})
	eventually(t, "the proxy has its backend", func() bool { return server.Ready() == nil })
	return server.Addr("plain").String()
}

// eventually waits until ok says yes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
