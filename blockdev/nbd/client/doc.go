// Package client talks to NBD servers.
//
//	ReadAt, WriteAt, ... --> Client --> link --> conn --> server
//	                           |          |        +-- one socket: requests in flight by cookie
//	                           |          +-- connects again when the conn is lost
//	                           +-- cuts requests to size, spreads them over links
//
// Requests of many goroutines are in flight together. With Config.ReconnectDelay a lost
// connection is made again, and what was in flight is sent again: all requests can be
// repeated without harm as long as nobody has been told that they are done.
package client
