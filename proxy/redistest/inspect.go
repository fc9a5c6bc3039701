package redistest

import (
	"fmt"
	"strconv"
	"strings"
)

// Do runs one command over the rig's own connection. An error reply is returned as the error, of type Error. It must
// leave the connection as it is: no SUBSCRIBE, MONITOR, SELECT, HELLO or CLIENT REPLY; use Dial for those.
func (s *Server) Do(args ...string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.do(args...)
}

func (s *Server) do(args ...string) (any, error) {
	if s.control == nil {
		return nil, errNotRunning
	}
	reply, err := s.control.Do(args...)
	if _, refused := err.(Error); err != nil && !refused {
		if err = s.reconnect(); err == nil {
			reply, err = s.control.Do(args...)
		}
		if _, refused := err.(Error); err != nil && !refused {
			return nil, err
		}
	}
	s.own++
	if err == nil && len(args) == 2 && strings.EqualFold(args[0], "config") && strings.EqualFold(args[1], "resetstat") {
		s.own = 1 // Redis counts the command that resets the count
	}
	return reply, err
}

// reconnect replaces the rig's own connection. A Sentinel that makes a server a replica or a primary ends all client
// connections there, this one too. The caller holds mu.
func (s *Server) reconnect() error {
	if s.proc == nil || !s.proc.running() {
		return errNotRunning
	}
	before := s.own
	client, id, err := s.connect()
	s.own += before
	if err != nil {
		return err
	}
	_ = s.control.Close()
	s.control, s.ownID = client, id
	return nil
}

// info returns one section of INFO as a map. The caller holds mu.
func (s *Server) info(section string) (map[string]string, error) {
	reply, err := s.do("INFO", section)
	if err != nil {
		return nil, fmt.Errorf("INFO %s: %w", section, err)
	}
	text, ok := reply.(string)
	if !ok {
		return nil, fmt.Errorf("INFO %s answered %T", section, reply)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			fields[name] = value
		}
	}
	return fields, nil
}

// Info returns one section of INFO, field by field.
func (s *Server) Info(section string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info(section)
}

// CommandsProcessed is how many commands the server has been sent by others than the rig: equal before and after means
// that nothing reached it in between. Each counts once, whether it ran, failed, or was refused before running (unknown,
// arity, NOPERM); what a script or EXEC runs counts too.
func (s *Server) CommandsProcessed() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own // INFO does not count itself
	fields, err := s.info("all")
	if err != nil {
		return 0, err
	}
	ran, err := strconv.ParseInt(fields["total_commands_processed"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("INFO stats: %w", err)
	}
	refused, err := strconv.ParseInt(fields["total_error_replies"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("INFO stats: %w", err)
	}
	stats, err := commandStats(fields)
	if err != nil {
		return 0, err
	}
	for _, stat := range stats {
		refused -= stat.Failed // these ran, and are in ran
	}
	return ran + refused - own, nil
}

// CommandStat is what INFO commandstats says of one command.
type CommandStat struct {
	Calls    int64 // run
	Rejected int64 // refused before running: arity, ACL, memory
	Failed   int64 // run and answered with an error
}

// CommandStats is INFO commandstats by command name in lower case ("get", "config|get"), the rig's own commands
// included.
func (s *Server) CommandStats() (map[string]CommandStat, error) {
	fields, err := s.Info("commandstats")
	if err != nil {
		return nil, err
	}
	return commandStats(fields)
}

func commandStats(fields map[string]string) (map[string]CommandStat, error) {
	stats := map[string]CommandStat{}
	for name, value := range fields {
		command, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		var stat CommandStat
		for pair := range strings.SplitSeq(value, ",") {
			key, text, _ := strings.Cut(pair, "=")
			into := map[string]*int64{"calls": &stat.Calls, "rejected_calls": &stat.Rejected, "failed_calls": &stat.Failed}[key]
			if into == nil {
				continue
			}
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("INFO commandstats: %s: %w", name, err)
			}
			*into = n
		}
		stats[command] = stat
	}
	return stats, nil
}

// ClientList is CLIENT LIST, a map of fields ("addr", "name", "cmd", "user"…) for each connection but the rig's own.
func (s *Server) ClientList() ([]map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := s.do("CLIENT", "LIST")
	if err != nil {
		return nil, fmt.Errorf("CLIENT LIST: %w", err)
	}
	text, ok := reply.(string)
	if !ok {
		return nil, fmt.Errorf("CLIENT LIST answered %T", reply)
	}
	var clients []map[string]string
	for line := range strings.Lines(text) {
		fields := map[string]string{}
		for pair := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(pair, "=")
			fields[name] = value
		}
		if fields["id"] != strconv.FormatInt(s.ownID, 10) {
			clients = append(clients, fields)
		}
	}
	return clients, nil
}
