package main

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"go.uber.org/zap"
)

// keyPatience is how long a start or a reload waits for the issuers' keys. One
// that doesn't answer holds up nobody else: its tokens are refused until it does.
const keyPatience = 5 * time.Second

// issuers is the verifier in use and the goroutine that keeps its keys fresh.
type issuers struct {
	verifier *token.Verifier // nil: no tokens are taken
	end      func()
}

// prepare makes the verifier of a configuration, with the keys that old has and
// what can be read now.
func (d *daemon) prepare(cfg *config.Config, old *token.Verifier) (*token.Verifier, error) {
	list := cfg.Issuers()
	if len(list) == 0 {
		return nil, nil
	}
	v, err := token.New(list, token.Options{Report: d.keysRead})
	if err != nil {
		return nil, err
	}
	v.Inherit(old)
	ctx, cancel := context.WithTimeout(context.Background(), keyPatience)
	defer cancel()
	_ = v.Load(ctx) // each failure is reported
	return v, nil
}

// keep runs a verifier in the place of the one in use.
func (i *issuers) keep(v *token.Verifier) {
	i.stop()
	i.verifier, i.end = v, nil
	if v == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.Run(ctx) // always nil
	}()
	i.end = func() { cancel(); <-ended }
}

func (i *issuers) stop() {
	if i.end != nil {
		i.end()
		i.end = nil
	}
}

// keysRead logs what became of an issuer's keys.
func (d *daemon) keysRead(r token.Report) {
	if r.Err != nil {
		d.log.Warn("the keys of an issuer of tokens can't be read; the last ones known are used as long as they may be",
			zap.String("issuer", r.Issuer), zap.Error(r.Err))
		return
	}
	if d.server != nil { // else nobody has logged in yet
		d.server.RejudgeTokens()
	}
	d.log.Info("keys of an issuer of tokens", zap.String("issuer", r.Issuer), zap.Int("keys", r.Keys.Usable), zap.Strings("skipped", r.Keys.Skipped))
}
