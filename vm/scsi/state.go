package scsi

import (
	"fmt"

	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// unitState is the section of a unit, as QEMU 7.2 has it.
type unitState struct{ u *Unit }

type unitFields struct {
	Device       deviceFields `vmstate:"qdev,struct=SCSIDevice"`
	MediaChanged bool         `vmstate:"media_changed"`
	MediaEvent   bool         `vmstate:"media_event"`
	EjectRequest bool         `vmstate:"eject_request"`
	TrayOpen     bool         `vmstate:"tray_open"`
	TrayLocked   bool         `vmstate:"tray_locked"`
	// More is there only if there is something that QEMU keeps elsewhere.
	More *moreFields `vmstate:"scsi-disk/qmon,subsection=1"`
}

type deviceFields struct {
	Key         uint8             `vmstate:"unit_attention.key"`
	Code        uint8             `vmstate:"unit_attention.asc"`
	Qualifier   uint8             `vmstate:"unit_attention.ascq"`
	IsAttention bool              `vmstate:"sense_is_ua"`
	Sense       [senseStored]byte `vmstate:"sense"`
	SenseLength uint32            `vmstate:"sense_len"`
	Requests    requests          `vmstate:"requests,type=scsi-requests"`
}

// senseStored is how much room a section has for sense data.
const senseStored = 96

type moreFields struct {
	WriteThrough  bool `vmstate:"write_through"`
	MediumRemoved bool `vmstate:"medium_removed"`
}

// requests is a list of requests in flight, of which there are none: machines are drained.
type requests struct{}

// endOfRequests ends the list; anything else begins a request.
const endOfRequests = 0

func (*requests) MarshalVMState(e *vmstate.Encoder) error {
	e.Uint8(endOfRequests)
	return nil
}

func (*requests) UnmarshalVMState(d *vmstate.Decoder) error {
	if d.Uint8() != endOfRequests {
		return fmt.Errorf("requests in flight cannot be loaded")
	}
	return nil
}

var (
	_ vm.State            = unitState{}
	_ vmstate.Marshaler   = (*requests)(nil)
	_ vmstate.Unmarshaler = (*requests)(nil)
)

// States implements vm.Device.
func (u *Unit) States() []vm.State { return []vm.State{unitState{u}} }

// Name implements vm.Device: the path of QEMU's device.
func (u *Unit) Name() string {
	return fmt.Sprintf("%s/%d:%d:%d", u.host, u.address.Channel, u.address.Target, u.address.LUN)
}

func (s unitState) Section() vm.Section {
	return vm.Section{Name: s.u.Name() + "/scsi-disk", Version: 1, MinVersion: 1}
}

func (s unitState) New() any { return &unitFields{} }

func (s unitState) Save() (any, error) {
	u := s.u
	f := &unitFields{
		Device: deviceFields{
			Key: u.attention.Key, Code: u.attention.Code, Qualifier: u.attention.Qualifier,
		},
		MediaChanged: u.replaced,
		MediaEvent:   u.mediaEvent != eventNone,
		EjectRequest: u.ejectAsked,
		TrayOpen:     u.drive.TrayOpen(),
		TrayLocked:   u.drive.Locked(),
	}
	if u.sense != (Sense{}) {
		f.Device.SenseLength = uint32(copy(f.Device.Sense[:], u.sense.Bytes()))
	}
	if removed := u.mediaEvent == eventMediumRemoved; !u.writeback || removed {
		f.More = &moreFields{WriteThrough: !u.writeback, MediumRemoved: removed}
	}
	return f, nil
}

func (s unitState) Check(state any, _ uint32) error {
	f := state.(*unitFields)
	if f.Device.SenseLength > senseStored {
		return fmt.Errorf("sense data of %d bytes", f.Device.SenseLength)
	}
	if !s.u.removable && (f.TrayOpen || f.TrayLocked && f.MediaChanged) {
		return fmt.Errorf("the stream has a removable medium")
	}
	return nil
}

// Load implements vm.State. The media have been put back before.
func (s unitState) Load(state any, _ uint32) error {
	u, f := s.u, state.(*unitFields)
	u.medium = u.drive.Loaded()
	u.attention = Sense{f.Device.Key, f.Device.Code, f.Device.Qualifier}
	u.sense = Sense{}
	if f.Device.SenseLength >= senseSize {
		b := f.Device.Sense
		u.sense = Sense{b[2] & 0x0f, b[12], b[13]}
	}
	u.replaced, u.ejectAsked, u.mediaEvent = f.MediaChanged, f.EjectRequest, eventNone
	u.writeback = true
	if f.MediaEvent {
		u.mediaEvent = eventNewMedium
	}
	if m := f.More; m != nil {
		u.writeback = !m.WriteThrough
		if m.MediumRemoved {
			u.mediaEvent = eventMediumRemoved
		}
	}
	if u.removable {
		u.drive.SetTray(f.TrayOpen)
	}
	u.drive.SetLocked(f.TrayLocked)
	return nil
}
