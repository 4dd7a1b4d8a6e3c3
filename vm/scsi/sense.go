package scsi

import "fmt"

// Status of a command (SAM-5, 5.3.1).
const (
	StatusGood           = 0x00
	StatusCheckCondition = 0x02
)

// Sense says why a command failed: key, additional code and its qualifier (SPC-5, annex F).
// The zero Sense says nothing.
type Sense struct{ Key, Code, Qualifier byte }

// Sense keys (SPC-5, table 49).
const (
	keyNotReady       = 0x02
	keyIllegalRequest = 0x05
	keyUnitAttention  = 0x06
	keyDataProtect    = 0x07
	keyAborted        = 0x0b
	keyMiscompare     = 0x0e
)

var (
	senseNoMedium        = Sense{keyNotReady, 0x3a, 0x00}
	senseNotReadyLocked  = Sense{keyNotReady, 0x53, 0x02}
	senseParameterLength = Sense{keyIllegalRequest, 0x1a, 0x00}
	senseUnknownCommand  = Sense{keyIllegalRequest, 0x20, 0x00}
	senseOutOfRange      = Sense{keyIllegalRequest, 0x21, 0x00}
	senseBadField        = Sense{keyIllegalRequest, 0x24, 0x00}
	senseNoUnit          = Sense{keyIllegalRequest, 0x25, 0x00}
	senseBadParameter    = Sense{keyIllegalRequest, 0x26, 0x00}
	senseIncompatible    = Sense{keyIllegalRequest, 0x30, 0x00}
	senseNoSavedPages    = Sense{keyIllegalRequest, 0x39, 0x00}
	senseLocked          = Sense{keyIllegalRequest, 0x53, 0x02}
	senseWriteProtected  = Sense{keyDataProtect, 0x27, 0x00}
	senseNoSpace         = Sense{keyDataProtect, 0x27, 0x07}
	senseIOError         = Sense{keyAborted, 0x00, 0x06}
	senseMiscompare      = Sense{keyMiscompare, 0x1d, 0x00}

	attentionReset           = Sense{keyUnitAttention, 0x29, 0x00}
	attentionCapacityChanged = Sense{keyUnitAttention, 0x2a, 0x09}
	attentionMediumChanged   = Sense{keyUnitAttention, 0x28, 0x00}
	attentionMediumRemoved   = Sense{keyUnitAttention, 0x3a, 0x00}
)

// senseSize is the length of fixed format sense data without anything more.
const senseSize = 18

// Bytes is s in fixed format (SPC-5, 4.4.3).
func (s Sense) Bytes() []byte {
	b := make([]byte, senseSize)
	b[0] = 0x70 // current errors
	b[2] = s.Key
	b[7] = senseSize - 8
	b[12], b[13] = s.Code, s.Qualifier
	return b
}

func (s Sense) String() string { return fmt.Sprintf("%x/%02x/%02x", s.Key, s.Code, s.Qualifier) }
