package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Node is what is counted for one redis-server of a backend. Its methods are
// safe for concurrent use and cheap enough for every connection and every
// health check, not for every command.
type Node struct {
	up, connections prometheus.Gauge
	ping            prometheus.Observer
}

// Node gives the counters of a node, the same ones for the same names. The
// names come from the configuration or from a topology, never from a client.
// A node is down until Up says otherwise.
func (s *Set) Node(backend, node string) *Node {
	backend, node = label(backend), label(node)
	s.topology.WithLabelValues(backend) // zero is an answer: rate() needs the series before the first change
	return &Node{
		up:          s.up.WithLabelValues(backend, node),
		connections: s.nodeConns.WithLabelValues(backend, node),
		ping:        s.pings.WithLabelValues(backend, node),
	}
}

// Up states whether the node answers.
func (n *Node) Up(up bool) {
	if up {
		n.up.Set(1)
	} else {
		n.up.Set(0)
	}
}

// Opened counts an opened connection, Closed a closed one.
func (n *Node) Opened() { n.connections.Inc() }

// Closed counts a connection that is no longer open.
func (n *Node) Closed() { n.connections.Dec() }

// Pinged counts an answered health check.
func (n *Node) Pinged(took time.Duration) { n.ping.Observe(took.Seconds()) }

// ForgetNode ends the series of a node that left its backend. What is counted
// in a Node kept after that is not shown.
func (s *Set) ForgetNode(backend, node string) {
	backend, node = label(backend), label(node)
	s.up.DeleteLabelValues(backend, node)
	s.nodeConns.DeleteLabelValues(backend, node)
	s.pings.DeleteLabelValues(backend, node)
	s.ForgetLoad(backend, node)
}

// TopologyChanged counts a change of a backend's topology.
func (s *Set) TopologyChanged(backend string) { s.topology.WithLabelValues(label(backend)).Inc() }

// SetConnections states how many connections are open, where the caller keeps count itself.
func (n *Node) SetConnections(open int) { n.connections.Set(float64(open)) }
