package loop

import "errors"

// CloseWrite ends sending before Adopt, so that a handshake that failed can
// leave its alert to be read. After Adopt the Conn ends the connection.
func (t *Transport) CloseWrite() error {
	half, ok := t.nc.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
