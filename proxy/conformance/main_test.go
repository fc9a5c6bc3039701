package conformance

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(cleaner{m})
}

// cleaner removes what the tests built once for all.
type cleaner struct{ m *testing.M }

func (c cleaner) Run() int {
	defer forget()
	return c.m.Run()
}
