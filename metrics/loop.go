package metrics

// Decision is what became of a call: a value of the decision label.
type Decision uint8

// The decisions.
const (
	Allowed  Decision = iota
	Refused           // an error reply, whoever gave the reason
	Answered          // a probe answered here instead of a refusal
	Reported          // let through only because a layer is in report mode
	numDecisions
)

var decisionNames = [numDecisions]string{"allowed", "refused", "answered", "reported"}

// AuthMethod is a value of the method label of auth_total.
type AuthMethod uint8

// The methods.
const (
	MethodNone AuthMethod = iota
	MethodPassword
	MethodToken
	MethodCertificate
	numMethods
)

var methodNames = [numMethods]string{"none", "password", "token", "certificate"}

// Result is what became of a connection: a value of the result label.
type Result uint8

// The results.
const (
	ConnectionAccepted Result = iota // moved in: it has a session
	ConnectionRefused                // its address, or a limit
	ConnectionFailed                 // handshake or PROXY header not finished
	numResults
)

var resultNames = [numResults]string{"accepted", "refused", "failed"}

// Obstacle is why a client was not read for a while: a value of the reason label of reads_paused_total.
type Obstacle uint8

// The obstacles.
const (
	PausedInFlight Obstacle = iota // too many of its calls are not answered yet
	PausedOutput                   // it has too many replies to read
	PausedBackend                  // its node takes calls too slowly
	PausedRate                     // its user's bytes are spent
	PausedMemory                   // memory is short and it holds more than its share
	PausedOrder                    // a call has to wait for what was asked before it
	PausedTurn                     // it had its share of the turn
	numObstacles
)

var obstacleNames = [numObstacles]string{"in_flight", "output", "backend", "bytes_per_second", "memory", "order", "turn"}

// ReadRole is whom a call that could be read from a replica went to: a value of the role label of reads_total.
type ReadRole uint8

// The roles.
const (
	ReadPrimary ReadRole = iota
	ReadReplica
	numReadRoles
)

var readRoleNames = [numReadRoles]string{"primary", "replica"}

// Wait is what became of calls that met a node that was away: a value of the
// result label of backend_waits_total.
type Wait uint8

// The ends of waiting.
const (
	WaitBegan  Wait = iota // it waited
	WaitGaveUp             // and its time was over before the node was there
	WaitFull               // it did not wait, as too much did already
	numWaits
)

var waitNames = [numWaits]string{"waited", "gave_up", "full"}

// What became of sessions whose subscriptions were lost with their node: the
// values of the result label of resubscriptions_total.
const (
	ListenersClosed  = iota
	ListenersResumed // they are subscribed again
	numListeners
)

var listenerNames = [numListeners]string{"closed", "resumed"}

// Bounds on what a closed list may hold; New refuses longer ones.
const (
	maxClasses = 8
	maxReasons = 64
	maxCloses  = 64
)

// Loop is what one event loop counts. Its fields are plain: the loop's
// goroutine owns it. Make one with Set.NewLoop; everything in it only grows, but
// for Listeners[i].Connections, BufferBytes and Lingering.
type Loop struct {
	Listeners      []Listener // by number, as in Options.Listeners; see Listener
	Received, Sent uint64     // bytes from and to clients, as RESP: without TLS
	BufferBytes    int64      // held for clients now
	Lingering      int64      // sockets still open for a last reply to arrive
	CommandSeconds Histogram  // from a call's last byte to its reply in order
	BackendSeconds Histogram  // from a call's sending to the node's reply
	Waits          [numWaits]uint64
	Resubscribed   [numListeners]uint64

	commands [maxClasses][numDecisions]uint64
	auth     [numMethods][2]uint64 // failed, ok
	closed   [maxCloses]uint64
	paused   [numObstacles]uint64
	reads    [numReadRoles]uint64
	number   int // which loop of its Set
}

// Listener gives the counters of the listener with that number, of one that
// Set.Listener added after the Loop was made, too. Whoever owns the Loop calls it.
func (l *Loop) Listener(number int) *Listener {
	for len(l.Listeners) <= number {
		l.Listeners = append(l.Listeners, Listener{})
	}
	return &l.Listeners[number]
}

// Listener is what a Loop counts for one listener.
type Listener struct {
	Connections int64 // open now; a Loop may go below zero if another one counted the opening

	results [numResults]uint64
	refused [maxReasons]uint64
}

// Command counts n calls of a class, numbered as in Options.Classes.
func (l *Loop) Command(class uint8, d Decision, n uint64) {
	l.commands[class%maxClasses][d%numDecisions] += n
}

// Auth counts an attempt to prove who somebody is.
func (l *Loop) Auth(m AuthMethod, ok bool) {
	i := 0
	if ok {
		i = 1
	}
	l.auth[m%numMethods][i]++
}

// Close counts the end of a connection by its reason's number in Options.Closes.
func (l *Loop) Close(reason uint8) { l.closed[reason%maxCloses]++ }

// Pause counts that a client is not read any more for a while.
func (l *Loop) Pause(o Obstacle) { l.paused[o%numObstacles]++ }

// Read counts a call that could be read from a replica, where that is wished.
func (l *Loop) Read(r ReadRole) { l.reads[r%numReadRoles]++ }

// Connection counts a connection by what became of it.
func (l *Listener) Connection(r Result) { l.results[r%numResults]++ }

// Refuse counts a refusal, of a connection or a call, by its reason's number in
// Options.Reasons.
func (l *Listener) Refuse(reason uint8) { l.refused[reason%maxReasons]++ }

// copyFrom makes l equal to o without sharing memory.
func (l *Loop) copyFrom(o *Loop) {
	listeners := append(l.Listeners[:0], o.Listeners...)
	*l = *o
	l.Listeners = listeners
}

// add adds what o counted.
func (l *Loop) add(o *Loop) {
	for i := range min(len(l.Listeners), len(o.Listeners)) {
		l.Listeners[i].add(&o.Listeners[i])
	}
	l.Received += o.Received
	l.Sent += o.Sent
	l.BufferBytes += o.BufferBytes
	l.Lingering += o.Lingering
	l.CommandSeconds.add(&o.CommandSeconds)
	l.BackendSeconds.add(&o.BackendSeconds)
	for c := range l.commands {
		for d := range l.commands[c] {
			l.commands[c][d] += o.commands[c][d]
		}
	}
	for i, n := range o.closed {
		l.closed[i] += n
	}
	for i, n := range o.paused {
		l.paused[i] += n
	}
	for i, n := range o.reads {
		l.reads[i] += n
	}
	for i, n := range o.Waits {
		l.Waits[i] += n
	}
	for i, n := range o.Resubscribed {
		l.Resubscribed[i] += n
	}
	for m := range l.auth {
		l.auth[m][0] += o.auth[m][0]
		l.auth[m][1] += o.auth[m][1]
	}
}

func (l *Listener) add(o *Listener) {
	l.Connections += o.Connections
	for i, n := range o.results {
		l.results[i] += n
	}
	for i, n := range o.refused {
		l.refused[i] += n
	}
}
