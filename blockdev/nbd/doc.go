// Package nbd is the protocol driver "nbd": a disk that an NBD server exports.
//
//	nbd:host:port[:exportname=NAME]      Node --> align --> client.Client --> server
//	nbd:unix:/path[:exportname=NAME]       |
//	nbd://host[:port]/NAME                 +-- Map: base:allocation
//	nbd+unix:///NAME?socket=/path
//	nbds://, nbds+unix://                TLS without further ado: the system's authorities
//	driver=nbd,server.type=inet,server.host=h,server.port=p,export=NAME,tls-creds=ID
//
// The server's minimum block size is kept for whoever is above: what is not aligned is read
// and written with the blocks around it.
package nbd
