package vm

// RunState is what a machine is doing, in QEMU's words.
type RunState string

const (
	StatePrelaunch     RunState = "prelaunch"      // started with -S, never run
	StateRunning       RunState = "running"        // executing instructions
	StatePaused        RunState = "paused"         // stop
	StateShutdown      RunState = "shutdown"       // powered off, kept by -no-shutdown
	StateSaveVM        RunState = "save-vm"        // during savevm
	StateRestoreVM     RunState = "restore-vm"     // during loadvm
	StateIOError       RunState = "io-error"       // a drive's error policy stopped it
	StateInternalError RunState = "internal-error" // a processor cannot go on
	StateDebug         RunState = "debug"
	StateInMigrate     RunState = "inmigrate"
	StatePostMigrate   RunState = "postmigrate"
	StateFinishMigrate RunState = "finish-migrate"
	StateSuspended     RunState = "suspended"
	StateWatchdog      RunState = "watchdog"
	StateGuestPanicked RunState = "guest-panicked"
	StateColo          RunState = "colo"
)

// RunStates are the names a saved stream may hold.
var RunStates = []RunState{
	StatePrelaunch, StateRunning, StatePaused, StateShutdown, StateSaveVM, StateRestoreVM,
	StateIOError, StateInternalError, StateDebug, StateInMigrate, StatePostMigrate,
	StateFinishMigrate, StateSuspended, StateWatchdog, StateGuestPanicked, StateColo,
}
