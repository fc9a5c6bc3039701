package main

import (
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// What the enclosure grants. Of the system's own kinds of access nothing else is
// used: no running of programs, no devices, no links.
const (
	mayRead  = landlock.AccessFSSet(llsys.AccessFSReadFile | llsys.AccessFSReadDir)
	mayWrite = mayRead | llsys.AccessFSWriteFile | llsys.AccessFSTruncate | llsys.AccessFSMakeReg | llsys.AccessFSMakeSock | llsys.AccessFSRemoveFile
)

// restrictPaths lets all threads of the process read below some folders, write
// below others, and nothing else. false: the kernel can't.
func restrictPaths(reads, writes []string) (bool, error) {
	if abi, err := llsys.LandlockGetABIVersion(); err != nil || abi < 1 {
		return false, nil
	}
	rules := []landlock.Rule{landlock.RWFiles("/dev/null").IgnoreIfMissing()}
	for _, path := range systemPaths() {
		rules = grant(rules, mayRead, path)
	}
	for _, path := range reads {
		rules = grant(rules, mayRead, path)
	}
	for _, path := range writes {
		rules = grant(rules, mayWrite, path)
	}
	return true, landlock.V5.BestEffort().RestrictPaths(rules...)
}

// grant adds a rule for a path that there is; the kernel takes no right to list
// for a file.
func grant(rules []landlock.Rule, rights landlock.AccessFSSet, path string) []landlock.Rule {
	info, err := os.Stat(path)
	if err != nil {
		return rules
	}
	if !info.IsDir() {
		rights &= llsys.AccessFSReadFile | llsys.AccessFSWriteFile | llsys.AccessFSTruncate
	}
	return append(rules, landlock.PathAccess(rights, path).IgnoreIfMissing())
}
