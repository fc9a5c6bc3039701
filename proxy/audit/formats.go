package audit

import (
	"net/netip"
	"strconv"
)

// What Azure and Redis Enterprise say of how an attempt to log in ended.
const (
	statusFailed      = 0
	statusNotRequired = 2
	statusOK          = 8
	statusCertificate = 10
)

func foreignStatus(e *Event) uint64 {
	switch {
	case e.Status != OK:
		return statusFailed
	case e.Method == MethodNone:
		return statusNotRequired
	case e.Method == MethodCertificate:
		return statusCertificate
	}
	return statusOK
}

// connection says that an event is one of those the foreign formats know. An
// announcement that a login ends soon is no attempt to log in.
func (e *Event) connection() bool {
	return e.Kind == NewConn || e.Kind == CloseConn || e.Kind == Auth && e.Status != Expiring
}

const azureOperation = "Microsoft.Cache/redisEnterprise/databases/ConnectionEvents/Read"

// appendAzure appends e as a record of Azure's ConnectionEvents category, or of
// ConnectedClientList, or nothing where neither has it. seq and hash come besides.
func appendAzure(dst []byte, e *Event) []byte {
	snapshot := e.Kind == Clients && e.Backend == ""
	if !snapshot && !e.connection() {
		return dst
	}
	l := line{dst}
	l.buf = append(l.buf, `{"time":"`...)
	l.buf = e.Time.UTC().AppendFormat(l.buf, timeLayout)
	l.buf = append(l.buf, '"')
	if snapshot {
		l.text("category", "ConnectedClientList")
		l.text("operationName", "Microsoft.Cache/ClientList")
		l.number("Level", 4)
		l.buf = append(l.buf, `,"properties":{"tenant":"sallyport","connectedClients":[`...)
		for i, g := range e.Groups[:min(len(e.Groups), MaxGroups)] {
			if i > 0 {
				l.buf = append(l.buf, ',')
			}
			l.buf = append(l.buf, `{"count":`...)
			l.buf = strconv.AppendUint(l.buf, g.Count, 10)
			l.addr("ip", g.IP)
			l.buf = append(l.buf, '}')
		}
		l.buf = append(l.buf, `]}`...)
	} else {
		l.text("category", "ConnectionEvents")
		l.text("operationName", azureOperation)
		l.text("resourceId", e.Listener)
		l.buf = append(l.buf, `,"properties":{"eventEpochTime":`...)
		l.buf = strconv.AppendInt(l.buf, e.Time.Unix(), 10)
		l.number("id", e.Conn)
		l.addr("clientIP", e.ClientIP)
		l.text("eventType", e.Kind.String())
		if e.Kind == Auth {
			l.number("eventStatus", foreignStatus(e))
		}
		l.buf = append(l.buf, '}')
	}
	l.number("seq", e.Seq)
	return append(l.buf, '}')
}

// appendEnterprise appends e as a record of Redis Enterprise's auditing, or
// nothing where that has none. Ports are strings there. audit_seq is the event's
// number; the hash comes besides.
func appendEnterprise(dst []byte, e *Event) []byte {
	if !e.connection() {
		return dst
	}
	l := line{dst}
	l.buf = append(l.buf, `{"ts":`...)
	l.buf = strconv.AppendInt(l.buf, e.Time.Unix(), 10)
	if e.Kind == Auth {
		l.text("action", "auth")
	} else {
		l.name(e.Kind.String())
		l.buf = append(l.buf, '{')
	}
	first := len(l.buf)
	l.number("id", e.Conn)
	l.place("srcip", "srcp", netip.AddrPortFrom(e.ClientIP, e.ClientPort))
	l.place("trgip", "trgp", e.Target)
	l.always("hname", "")
	l.always("bdb_name", e.Listener)
	if e.Kind == Auth {
		l.number("status", foreignStatus(e))
		l.always("username", e.User)
		l.always("identity", e.TokenID)
		l.always("acl-rules", "")
	} else {
		// The object's first member has no comma before it.
		l.buf = append(append(l.buf[:first], l.buf[first+1:]...), '}')
	}
	l.number("audit_seq", e.Seq)
	return append(l.buf, '}')
}

// place writes an address and a port, both there where the address is unknown.
func (l *line) place(ip, port string, at netip.AddrPort) {
	if !at.Addr().IsValid() {
		l.always(ip, "")
		l.always(port, "")
		return
	}
	l.addr(ip, at.Addr())
	l.name(port)
	l.buf = append(l.buf, '"')
	l.buf = strconv.AppendUint(l.buf, uint64(at.Port()), 10)
	l.buf = append(l.buf, '"')
}

// always is text that is there when it is empty, too.
func (l *line) always(key, s string) {
	l.name(key)
	l.buf = appendText(l.buf, s, maxField)
}
