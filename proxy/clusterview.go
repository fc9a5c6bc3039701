package proxy

import (
	"fmt"
	"net"
	"strconv"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// A client for clusters finds a cluster of one node here, this proxy, which has
// all slots: it sends everything to where it is already, and is never redirected.

// cluster answers CLUSTER before a cluster.
func (s *session) cluster(args [][]byte) {
	switch s.call.Spec.Name {
	case "cluster|slots":
		s.emit(s.clusterSlots())
	case "cluster|shards":
		s.emit(s.clusterShards())
	case "cluster|nodes":
		s.emit(resp.AppendBulkString(nil, s.clusterNodes()))
	case "cluster|info":
		s.emit(resp.AppendBulkString(nil, s.clusterInfo()))
	case "cluster|myid":
		s.emit(resp.AppendBulkString(nil, s.w.srv.runID))
	case "cluster|keyslot":
		s.emit(resp.AppendInt(nil, int64(backend.SlotOf(args[2]))))
	case "cluster|countkeysinslot", "cluster|getkeysinslot":
		slot, ok := integer(args[2])
		if !ok || slot < 0 || slot >= backend.Slots {
			s.fail("ERR Invalid slot")
			return
		}
		s.single(s.router.Topology().Shard(int(slot)), args)
	default:
		s.fail("ERR this subcommand of CLUSTER speaks of nodes, which this proxy does not show")
	}
}

// address is where cluster clients find this proxy. Over a unix socket there is
// no such place: they stay where they are.
func (s *session) address() (host string, port int) {
	host, text, err := net.SplitHostPort(s.announced())
	if err != nil {
		return "", 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}

func (s *session) clusterSlots() []byte {
	host, port := s.address()
	b := resp.AppendArray(resp.AppendArray(nil, 1), 3)
	b = resp.AppendInt(resp.AppendInt(b, 0), backend.Slots-1)
	b = resp.AppendBulkString(resp.AppendArray(b, 4), host)
	b = resp.AppendBulkString(resp.AppendInt(b, int64(port)), s.w.srv.runID)
	return resp.AppendArray(b, 0)
}

func (s *session) clusterShards() []byte {
	host, port := s.address()
	b := resp.AppendMap(resp.AppendArray(nil, 1), s.proto, 2)
	b = resp.AppendArray(resp.AppendBulkString(b, "slots"), 2)
	b = resp.AppendInt(resp.AppendInt(b, 0), backend.Slots-1)
	b = resp.AppendArray(resp.AppendBulkString(b, "nodes"), 1)
	name := "port"
	if s.facts.tls != "" {
		name = "tls-port"
	}
	b = resp.AppendMap(b, s.proto, 7)
	b = resp.AppendBulkString(resp.AppendBulkString(b, "id"), s.w.srv.runID)
	b = resp.AppendInt(resp.AppendBulkString(b, name), int64(port))
	b = resp.AppendBulkString(resp.AppendBulkString(b, "ip"), host)
	b = resp.AppendBulkString(resp.AppendBulkString(b, "endpoint"), host)
	b = resp.AppendBulkString(resp.AppendBulkString(b, "role"), "master")
	b = resp.AppendInt(resp.AppendBulkString(b, "replication-offset"), 0)
	return resp.AppendBulkString(resp.AppendBulkString(b, "health"), "online")
}

func (s *session) clusterNodes() string {
	host, port := s.address()
	return fmt.Sprintf("%s %s:%d@%d myself,master - 0 0 1 connected 0-%d\n", s.w.srv.runID, host, port, port+10000, backend.Slots-1)
}

// clusterInfo says of the cluster behind what concerns clients, and of its size
// what they see.
func (s *session) clusterInfo() string {
	covered, state := s.router.Topology().Covered(), "ok"
	if covered < backend.Slots {
		state = "fail"
	}
	return fmt.Sprintf("cluster_enabled:1\r\ncluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\n"+
		"cluster_slots_pfail:0\r\ncluster_slots_fail:%d\r\ncluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:1\r\ncluster_my_epoch:1\r\n",
		state, backend.Slots, covered, backend.Slots-covered)
}

// clustered reports a session to which the proxy looks like a cluster of one node.
func (s *session) clustered() bool {
	return s.router != nil && s.router.Clustered() && s.router.Ready()
}

func (s *session) redisMode() string {
	if s.clustered() {
		return "cluster"
	}
	return "standalone"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
