package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Load is what a node says of what it has to do.
type Load struct {
	Memory      int64         // bytes in use
	MemoryLimit int64         // 0: none
	Commands    int64         // a second
	CPU         time.Duration // since the node started
	Clients     int64
}

// loadSeries are the series of nodes' load.
type loadSeries struct {
	memory, limit, commands, clients *prometheus.GaugeVec
	cpu                              *prometheus.CounterVec
	used                             map[[2]string]time.Duration // what cpu is at, by backend and node
}

func newLoadSeries() loadSeries {
	return loadSeries{
		memory:   gauge("backend_memory_used_bytes", "Memory that a node has in use.", "backend", "node"),
		limit:    gauge("backend_memory_limit_bytes", "Memory that a node may use (maxmemory); 0: it has no limit.", "backend", "node"),
		commands: gauge("backend_commands_per_second", "Commands that a node runs, whoever sends them, by its own reckoning.", "backend", "node"),
		clients:  gauge("backend_clients", "Connections that a node has, whoever made them.", "backend", "node"),
		cpu:      counter("backend_cpu_seconds_total", "Processor time that a node has used, as far as it was asked.", "backend", "node"),
		used:     make(map[[2]string]time.Duration),
	}
}

func (l *loadSeries) all() []prometheus.Collector {
	return []prometheus.Collector{l.memory, l.limit, l.commands, l.clients, l.cpu}
}

// SetLoad states the load of a node.
func (s *Set) SetLoad(backend, node string, l Load) {
	backend, node = label(backend), label(node)
	s.load.memory.WithLabelValues(backend, node).Set(float64(l.Memory))
	s.load.limit.WithLabelValues(backend, node).Set(float64(l.MemoryLimit))
	s.load.commands.WithLabelValues(backend, node).Set(float64(l.Commands))
	s.load.clients.WithLabelValues(backend, node).Set(float64(l.Clients))
	cpu := s.load.cpu.WithLabelValues(backend, node)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.load.used[[2]string{backend, node}]
	if l.CPU < was {
		was = 0 // it has started anew
	}
	cpu.Add((l.CPU - was).Seconds())
	s.load.used[[2]string{backend, node}] = l.CPU
}

// ForgetLoad ends these series of a node that does not say any more.
func (s *Set) ForgetLoad(backend, node string) {
	backend, node = label(backend), label(node)
	for _, g := range []*prometheus.GaugeVec{s.load.memory, s.load.limit, s.load.commands, s.load.clients} {
		g.DeleteLabelValues(backend, node)
	}
	s.load.cpu.DeleteLabelValues(backend, node)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.load.used, [2]string{backend, node})
}

// SetQuorumMargin states how many more of those who decide on a backend's failover
// may fail before they are no majority.
func (s *Set) SetQuorumMargin(backend string, margin int) {
	s.margin.WithLabelValues(label(backend)).Set(float64(margin))
}

// SetOwned states how many connections are one session's own, spare ones included.
func (s *Set) SetOwned(backend string, open int) {
	s.owned.WithLabelValues(label(backend)).Set(float64(open))
}

// SetLogins states how many shared connections there are for users that have a
// login of their own, and how many were not opened because of their limit.
func (s *Set) SetLogins(backend string, open int, refused uint64) {
	s.logins.WithLabelValues(label(backend)).Set(float64(open))
	full := s.loginsFull.WithLabelValues(label(backend))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full == nil {
		s.full = make(map[string]uint64)
	}
	if was := s.full[backend]; refused > was {
		full.Add(float64(refused - was))
		s.full[backend] = refused
	}
}

// ForgetBackend ends these series and what SetQuorumMargin stated of a backend that is gone.
func (s *Set) ForgetBackend(backend string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned.DeleteLabelValues(label(backend))
	s.logins.DeleteLabelValues(label(backend))
	s.loginsFull.DeleteLabelValues(label(backend))
	delete(s.full, backend)
	s.margin.DeleteLabelValues(label(backend))
}
