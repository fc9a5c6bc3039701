package config

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/acl"
)

// aclFile reads aclfile: a file of users as redis-server writes it.
func (r *reader) aclFile(v value) (file named, users []acl.UserSource) {
	file = v.named()
	if file.path == "" {
		return file, nil
	}
	shown := shownPath(v.doc, file.written)
	text, err := r.read(file.path, file.path)
	if err != nil {
		v.fault("can't read %s: %s", quoted(file.written), reasonOf(err))
		return file, nil
	}
	doc := &document{name: shown, dir: filepath.Dir(file.path), text: text}
	doc.rows = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	r.files = append(r.files, shown)
	r.docs[shown] = doc
	users, problems := r.aclUsers(shown, text)
	r.take(problems)
	for _, u := range users {
		at := value{r: r, doc: doc, path: joined("users", u.Name.Value), at: u.Name.At}
		at.warnRules(text0(u.Rules))
		at.warnUser(u.Name.Value, u.Rules.Value, false)
	}
	v.warnReadable(file.path, file.written)
	return file, users
}

// text0 is a text that stands in the file as it is.
func text0(t acl.Text) text { return text{Text: t, written: t.Value, set: true} }

// take puts acl's problems among ours.
func (r *reader) take(problems []acl.Problem) {
	for _, p := range problems {
		r.problems = append(r.problems, Problem{At: p.At, What: maskRules(p.What), Hint: maskRules(p.Hint), Warning: p.Warning})
	}
}

// replaceFile puts text in a file's place, whole or not at all. A link is
// followed, and the mode and, where that is allowed, the owner stay.
func replaceFile(path, text string) (err error) {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	mode := os.FileMode(0o600)
	before, err := os.Stat(path)
	if err == nil {
		mode = before.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if before != nil {
		keepOwner(f, before)
	}
	if _, err = f.WriteString(text); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if dir, openErr := os.Open(filepath.Dir(path)); openErr == nil {
		defer dir.Close()
		_ = dir.Sync() // some file systems can't; the content is safe
	}
	return nil
}

// keepOwner gives a file the owner of another; who may not, need not.
func keepOwner(f *os.File, like os.FileInfo) {
	if uid, gid, ok := ownerOf(like); ok {
		_ = f.Chown(uid, gid)
	}
}
