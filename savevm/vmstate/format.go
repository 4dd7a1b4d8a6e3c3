package vmstate

// What the stream consists of.
const (
	magic   = 0x5145564d // QEVM
	version = 3

	kindEOF           = 0x00
	kindStart         = 0x01
	kindPart          = 0x02
	kindEnd           = 0x03
	kindFull          = 0x04
	kindSubsection    = 0x05
	kindDescription   = 0x06
	kindConfiguration = 0x07
	kindFooter        = 0x7e
)

// maxName is the length of the longest name: one byte says it.
const maxName = 255
