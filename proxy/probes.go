package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/resp"
)

const errNoCluster = "ERR This instance has cluster support disabled"

// probe answers a refused call that Probed names, with what the proxy knows by
// itself: nothing of the backend, nothing of other users. It reports whether it did.
func (s *session) probe(args [][]byte, d acl.Decision) bool {
	if s.w.srv.refuseProbes.Load() || !Probed(s.user, &s.call, d) {
		return false
	}
	s.w.count.Command(uint8(s.call.Class), metrics.Answered, 1)
	switch name := s.call.Spec.Name; {
	case name == "info":
		s.emit(resp.AppendVerbatim(s.w.scratch[:0], s.proto, s.info(args[1:])))
	case name == "role":
		b := resp.AppendBulkString(resp.AppendArray(s.w.scratch[:0], 3), "master")
		s.emit(resp.AppendArray(resp.AppendInt(b, 0), 0))
	case name == "config|get":
		s.configGet(args[2:])
	case strings.HasPrefix(name, "cluster|") && s.clustered() && !strings.HasSuffix(name, "keysinslot"):
		s.cluster(args)
	case strings.HasPrefix(name, "cluster|"):
		s.fail(errNoCluster) // as INFO and HELLO say: to clients the proxy is one node
	default:
		s.client(args, true)
	}
	return true
}

// settings are what CONFIG GET says to those who may not ask the node: what
// holds for a client of this proxy, in Redis's names and units.
func (s *session) settings() [][2]string {
	l := &s.w.limits
	return [][2]string{
		{"acllog-max-len", strconv.Itoa(aclLogEntries)},
		{"appendonly", "no"}, // the proxy itself keeps nothing on disk
		{"cluster-enabled", yesNo(s.clustered())},
		{"maxclients", strconv.Itoa(l.Connections)},
		{"proto-max-bulk-len", strconv.FormatInt(l.RequestBytes, 10)},
		{"save", ""},
		{"timeout", strconv.FormatInt(int64(l.IdleTimeout.Seconds()), 10)},
	}
}

// settingNames are those of settings.
var settingNames = []string{"acllog-max-len", "appendonly", "cluster-enabled", "maxclients", "proto-max-bulk-len", "save", "timeout"}

// unsaidSettings are asked for by clients while they connect, are no secret and
// not known to the proxy: they are left out, as Redis does with names it does not know.
var unsaidSettings = []string{
	"databases", "maxmemory", "maxmemory-policy", "notify-keyspace-events", "replica-read-only", "slave-read-only",
}

// harmlessSetting reports whether an argument of CONFIG GET asks for nothing but
// what may be said, or left unsaid. A pattern must match something that is said.
func harmlessSetting(arg []byte) bool {
	name := string(arg)
	for _, n := range settingNames {
		if acl.Matches(name, n) {
			return true
		}
	}
	for _, n := range unsaidSettings {
		if fold(arg, n) {
			return true
		}
	}
	return false
}

// configGet answers CONFIG GET pattern ….
func (s *session) configGet(patterns [][]byte) {
	var said [][2]string
	for _, pair := range s.settings() {
		for _, p := range patterns {
			if acl.Matches(string(p), pair[0]) {
				said = append(said, pair)
				break
			}
		}
	}
	b := resp.AppendMap(s.w.scratch[:0], s.proto, len(said))
	for _, pair := range said {
		b = appendPair(b, pair[0], pair[1])
	}
	s.emit(b)
}

// infoSections are Redis's, in its order; those marked are in INFO without arguments.
var infoSections = []struct {
	name    string
	usual   bool
	content func(*session) []string
}{
	{"Server", true, (*session).infoServer},
	{"Clients", true, (*session).infoClients},
	{"Memory", true, (*session).infoMemory},
	{"Persistence", true, func(*session) []string { return []string{"loading:0", "async_loading:0"} }},
	{"Stats", true, (*session).infoStats},
	{"Replication", true, func(*session) []string { return []string{"role:master", "connected_slaves:0"} }},
	{"CPU", true, nil},
	{"Modules", true, nil},
	{"Commandstats", false, nil},
	{"Errorstats", true, nil},
	{"Latencystats", false, nil},
	{"Cluster", true, func(s *session) []string {
		if s.clustered() {
			return []string{"cluster_enabled:1"}
		}
		return []string{"cluster_enabled:0"}
	}},
	{"Keyspace", true, nil},
}

// info answers INFO [section …]: Redis's sections and names, and in them only
// what the proxy itself can say truly. The rest is left out, not made up.
func (s *session) info(sections [][]byte) string {
	var b strings.Builder
	for i := range infoSections {
		section := &infoSections[i]
		if !wanted(sections, section.name, section.usual) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + section.name + "\r\n")
		if section.content == nil {
			continue
		}
		for _, line := range section.content(s) {
			b.WriteString(line + "\r\n")
		}
	}
	return b.String()
}

func wanted(sections [][]byte, name string, usual bool) bool {
	if len(sections) == 0 {
		return usual
	}
	lower := strings.ToLower(name)
	for _, a := range sections {
		switch {
		case fold(a, lower), fold(a, "all"), fold(a, "everything"), usual && fold(a, "default"):
			return true
		}
	}
	return false
}

func (s *session) infoServer() []string {
	now := s.w.now()
	up := int64(now.Sub(s.w.srv.born).Seconds())
	lines := []string{
		"redis_version:" + s.w.version(s.facts.backend),
		"redis_mode:" + s.redisMode(),
		"run_id:" + s.w.srv.runID,
	}
	if i := strings.LastIndexByte(s.facts.local, ':'); i >= 0 && s.facts.network != "unix" {
		lines = append(lines, "tcp_port:"+s.facts.local[i+1:])
	}
	return append(lines,
		fmt.Sprintf("server_time_usec:%d", now.UnixMicro()),
		fmt.Sprintf("uptime_in_seconds:%d", up),
		fmt.Sprintf("uptime_in_days:%d", up/86400),
		"proxy:sallyport",
	)
}

func (s *session) infoClients() []string {
	return []string{
		fmt.Sprintf("connected_clients:%d", s.w.srv.gate.inside()),
		fmt.Sprintf("maxclients:%d", s.w.limits.Connections),
		"blocked_clients:0",
		"tracking_clients:0",
	}
}

func (s *session) infoMemory() []string {
	return []string{fmt.Sprintf("mem_clients_normal:%d", s.w.srv.held())}
}

func (s *session) infoStats() []string {
	denied := s.w.srv.aclLog.denied()
	return []string{
		fmt.Sprintf("total_connections_received:%d", lastConn.Load()),
		fmt.Sprintf("acl_access_denied_auth:%d", denied[deniedAuth]),
		fmt.Sprintf("acl_access_denied_cmd:%d", denied[deniedCommand]),
		fmt.Sprintf("acl_access_denied_key:%d", denied[deniedKey]),
		fmt.Sprintf("acl_access_denied_channel:%d", denied[deniedChannel]),
	}
}

// newRunID makes 40 hexadecimal digits.
func newRunID() string {
	var raw [20]byte
	rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}
