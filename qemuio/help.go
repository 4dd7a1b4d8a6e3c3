package qemuio

import (
	"context"
	"slices"
	"strings"
)

var helpCommand = Command{
	Name: "help", Alias: "?", Args: "[command]", Help: "help for one or all commands",
	MaxArgs: 1, NoFile: true, Run: help,
}

func help(_ context.Context, e *Exerciser, c *Call) error {
	if len(c.Args) == 0 {
		e.printf("%s\nUse 'help commandname' for extended help.\n", e.summary())
		return nil
	}
	about := e.lookup(c.Args[0])
	if about == nil {
		return complain(toOut, "command %s not found", c.Args[0])
	}
	e.printf("%s\n", about.usage(c.Args[0]))
	if about.Details != "" {
		e.printf("%s\n", about.Details)
	}
	return nil
}

// summary has a line for each command.
func (e *Exerciser) summary() string {
	var lines []string
	for _, c := range e.commands {
		lines = append(lines, c.usage(c.Name)+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// What help says of a command besides its line. Each begins and ends with an empty line.
const (
	statisticsOptions = ` -C  the statistics as numbers between commas
 -q  no statistics
`
	readDetails = `
 'read -P 5 -s 512 -l 1k 0 4k' reads 4 KiB and compares 1 KiB of them.

 -b  read the state of a machine that lies beside the disk
 -P  compare with this byte, from 0 to 255; a difference fails the command
 -s  compare from here on, counted from the beginning of what is read
 -l  compare so much
 -v  show the bytes
 -p  accepted, without effect
` + statisticsOptions

	readvDetails = `
 'readv 0 1k 512' reads 1536 bytes.

 -P  compare with this byte, from 0 to 255; a difference fails the command
 -v  show the bytes
` + statisticsOptions

	aioReadDetails = `
 Begins to read and does not wait: what comes of it is shown later, at the latest by
 aio_flush. The command itself succeeds, whatever comes of it.

 -P  compare with this byte, from 0 to 255
 -i  do not read; a request is counted as invalid
 -v  show the bytes
` + statisticsOptions

	writeDetails = `
 'write -P 5 1M 64k' fills 64 KiB at 1 MiB with the byte 5.

 -b  write the state of a machine that lies beside the disk
 -c  write compressed, whole clusters
 -f  be over when it is on disk (force unit access)
 -P  fill with this byte, from 0 to 255, in place of 0xcd
 -s  fill with what is in this file, over and over
 -z  write zeroes without sending them
 -u  with -z: storage may be given back
 -n  with -z: fail if zeroes would have to be written one by one
 -p  accepted, without effect
` + statisticsOptions

	writevDetails = `
 'writev 0 1k 512' writes 1536 bytes.

 -f  be over when it is on disk (force unit access)
 -P  fill with this byte, from 0 to 255, in place of 0xcd
` + statisticsOptions

	aioWriteDetails = `
 Begins to write and does not wait: what comes of it is shown later, at the latest by
 aio_flush. The command itself succeeds, whatever comes of it.

 -f  be over when it is on disk (force unit access)
 -P  fill with this byte, from 0 to 255, in place of 0xcd
 -i  do not write; a request is counted as invalid
 -z  write zeroes without sending them
 -u  with -z: storage may be given back
` + statisticsOptions

	discardDetails = `
 'discard 1M 64k' gives the storage of 64 KiB at 1 MiB back.

` + statisticsOptions

	reopenDetails = `
 'reopen -r' makes the image read-only.

 -r  read-only
 -w  read-write
 -c  cache mode: none, writeback, writethrough, directsync or unsafe
 -o  options of the image
`

	sigraiseDetails = `
 'sigraise 9' ends the program at once, as a crash would.
`
)
