// Package server exports nodes of the block layer to NBD clients.
//
//	listener --> handshake --> Export --> Backend (a node, or a machine's drive)
//	               |             ^
//	               +- options -> Server's exports, by name
//
// After the handshake a connection has a crew of goroutines that take turns at its
// socket: whoever has read a request hands the socket on, does the request, and answers.
// So requests run beside each other, as many as the crew has members, and a client that
// does not stop sending is held back by its own requests. Small requests to a quick backend,
// such as a file in the page cache, are done where they are read: nobody else is woken for
// them, and their answers go out together. On Linux the sockets of a few dozen clients block
// a thread each, which takes less than the runtime's poller.
//
// Memory is bounded by Options.MaxConnections times ConnectionMemory: longer requests are
// done in pieces. Every wait for a client that has begun to say something,
// or has something to receive, has a deadline.
package server
