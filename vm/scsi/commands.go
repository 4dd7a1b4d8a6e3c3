package scsi

// Operation codes (SPC-5, SBC-4, MMC-6).
const (
	opTestUnitReady      = 0x00
	opRequestSense       = 0x03
	opFormatUnit         = 0x04
	opRead6              = 0x08
	opWrite6             = 0x0a
	opSeek6              = 0x0b
	opInquiry            = 0x12
	opModeSelect6        = 0x15
	opReserve6           = 0x16
	opRelease6           = 0x17
	opModeSense6         = 0x1a
	opStartStop          = 0x1b
	opPreventRemoval     = 0x1e
	opFormatCapacities   = 0x23
	opReadCapacity10     = 0x25
	opRead10             = 0x28
	opWrite10            = 0x2a
	opSeek10             = 0x2b
	opWriteVerify10      = 0x2e
	opVerify10           = 0x2f
	opSynchronizeCache   = 0x35
	opWriteSame10        = 0x41
	opUnmap              = 0x42
	opReadTOC            = 0x43
	opGetConfiguration   = 0x46
	opEventStatus        = 0x4a
	opDiscInformation    = 0x51
	opModeSelect10       = 0x55
	opModeSense10        = 0x5a
	opRead16             = 0x88
	opWrite16            = 0x8a
	opWriteVerify16      = 0x8e
	opVerify16           = 0x8f
	opSynchronizeCache16 = 0x91
	opWriteSame16        = 0x93
	opServiceActionIn16  = 0x9e
	opReportLUNs         = 0xa0
	opRead12             = 0xa8
	opWrite12            = 0xaa
	opDiscStructure      = 0xad
	opWriteVerify12      = 0xae
	opVerify12           = 0xaf
	opMechanismStatus    = 0xbd
)

// command says how a unit treats an operation.
type command struct {
	do func(*Unit, *Task)
	// needs is what there must be.
	needs need
	// patient commands are done although a unit attention condition waits, which stays.
	patient bool
}

type need uint8

const (
	needMedium  need = 1 << iota // a medium that can be read
	needOptical                  // a CD-ROM drive
	needDisk                     // a disk or floppy drive
)

var commandTable = map[byte]command{
	opTestUnitReady:      {do: (*Unit).testUnitReady, needs: needMedium},
	opRequestSense:       {do: (*Unit).requestSense, patient: true},
	opInquiry:            {do: (*Unit).inquiry, patient: true},
	opModeSense6:         {do: (*Unit).modeSense},
	opModeSense10:        {do: (*Unit).modeSense},
	opModeSelect6:        {do: (*Unit).modeSelect},
	opModeSelect10:       {do: (*Unit).modeSelect},
	opReserve6:           {do: (*Unit).nothing},
	opRelease6:           {do: (*Unit).nothing},
	opStartStop:          {do: (*Unit).startStop},
	opPreventRemoval:     {do: (*Unit).preventRemoval},
	opFormatUnit:         {do: (*Unit).nothing, needs: needMedium | needDisk},
	opSeek6:              {do: (*Unit).seek, needs: needMedium},
	opSeek10:             {do: (*Unit).seek, needs: needMedium},
	opFormatCapacities:   {do: (*Unit).formatCapacities},
	opReadCapacity10:     {do: (*Unit).readCapacity10, needs: needMedium},
	opServiceActionIn16:  {do: (*Unit).readCapacity16, needs: needMedium},
	opRead6:              {do: (*Unit).read, needs: needMedium},
	opRead10:             {do: (*Unit).read, needs: needMedium},
	opRead12:             {do: (*Unit).read, needs: needMedium},
	opRead16:             {do: (*Unit).read, needs: needMedium},
	opWrite6:             {do: (*Unit).write, needs: needMedium},
	opWrite10:            {do: (*Unit).write, needs: needMedium},
	opWrite12:            {do: (*Unit).write, needs: needMedium},
	opWrite16:            {do: (*Unit).write, needs: needMedium},
	opWriteVerify10:      {do: (*Unit).write, needs: needMedium},
	opWriteVerify12:      {do: (*Unit).write, needs: needMedium},
	opWriteVerify16:      {do: (*Unit).write, needs: needMedium},
	opVerify10:           {do: (*Unit).verify, needs: needMedium},
	opVerify12:           {do: (*Unit).verify, needs: needMedium},
	opVerify16:           {do: (*Unit).verify, needs: needMedium},
	opSynchronizeCache:   {do: (*Unit).synchronizeCache},
	opSynchronizeCache16: {do: (*Unit).synchronizeCache},
	opWriteSame10:        {do: (*Unit).writeSame, needs: needMedium},
	opWriteSame16:        {do: (*Unit).writeSame, needs: needMedium},
	opUnmap:              {do: (*Unit).unmap, needs: needMedium},
	opReadTOC:            {do: (*Unit).readTOC, needs: needMedium | needOptical},
	opGetConfiguration:   {do: (*Unit).getConfiguration, needs: needOptical, patient: true},
	opEventStatus:        {do: (*Unit).eventStatus, needs: needOptical, patient: true},
	opDiscInformation:    {do: (*Unit).discInformation, needs: needMedium | needOptical},
	opDiscStructure:      {do: (*Unit).discStructure, needs: needOptical},
	opMechanismStatus:    {do: (*Unit).mechanismStatus, needs: needOptical},
}

// Start begins a command, on the machine's goroutine. It reports whether the answer is there
// already; if not, Run has to be called, and then Finish.
func (u *Unit) Start(t *Task) bool {
	c, known := commandTable[t.CDB[0]]
	if !c.patient {
		if s := u.takeAttention(); s != (Sense{}) {
			t.fail(s)
			u.Finish(t)
			return true
		}
		u.sense = Sense{}
	}
	present := u.look()
	optical := u.kind == CDROM
	switch {
	case !known:
		t.fail(senseUnknownCommand)
	case c.needs&needOptical != 0 && !optical, c.needs&needDisk != 0 && optical:
		t.fail(senseBadField)
	case c.needs&needMedium != 0 && !present:
		t.fail(senseNoMedium)
	default:
		c.do(u, t)
	}
	if t.run != nil {
		return false
	}
	u.Finish(t)
	return true
}

// Finish puts the drive's error, if there was one, into the answer, on the machine's goroutine.
func (u *Unit) Finish(t *Task) {
	if t.Err != nil {
		t.fail(hostError(t.Err))
	}
	if t.Status == StatusCheckCondition {
		u.sense = t.Sense
		t.Written, t.Taken = 0, 0
	}
}
