package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Bounds of what a fake node reads; a request beyond them is a fault of the code under test.
const (
	maxRequestArgs = 1 << 20
	maxRequestBulk = 64 << 20
)

// readRequest reads one request in canonical form only: an array of one or more bulk strings, lengths without sign or
// leading zeros. io.EOF means that the stream ended between two requests; any other error is a fault of the sender or
// of the connection.
func readRequest(in *bufio.Reader) ([]string, error) {
	if _, err := in.Peek(1); err != nil {
		return nil, err
	}
	count, err := readLength(in, '*', maxRequestArgs)
	if err != nil {
		return nil, err
	}
	if count == 0 {
		return nil, errNotCanonical("a request without a command")
	}
	var args []string
	for range count {
		size, err := readLength(in, '$', maxRequestBulk)
		if err != nil {
			return nil, err
		}
		body := make([]byte, size+2)
		if _, err := io.ReadFull(in, body); err != nil {
			return nil, midRequest(err)
		}
		if body[size] != '\r' || body[size+1] != '\n' {
			return nil, errNotCanonical("a bulk string not closed by CRLF")
		}
		args = append(args, string(body[:size]))
	}
	return args, nil
}

func readLength(in *bufio.Reader, kind byte, most int) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, midRequest(err)
	}
	if len(line) < 4 || line[0] != kind || line[len(line)-2] != '\r' {
		return 0, errNotCanonical(fmt.Sprintf("%.40q where a %q header belongs", line, kind))
	}
	digits := line[1 : len(line)-2]
	n, err := strconv.Atoi(digits)
	if err != nil || strconv.Itoa(n) != digits || n < 0 || n > most {
		return 0, errNotCanonical(fmt.Sprintf("length %.40q", digits))
	}
	return n, nil
}

// errNotCanonical is a request that no proxy which re-encodes would send.
type errNotCanonical string

func (e errNotCanonical) Error() string { return "not a canonical request: " + string(e) }

// errCut is a request whose rest never came.
var errCut = errors.New("the stream ended inside a request")

func midRequest(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}
