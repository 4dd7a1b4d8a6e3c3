package img

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// OptionHelp renders a table of options as -o help does: by name, a line each.
func OptionHelp(table blockdev.OptionTable) string {
	sorted := slices.Clone(table)
	slices.SortFunc(sorted, func(a, b blockdev.Option) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	for _, o := range sorted {
		left := fmt.Sprintf("%s=<%s>", o.Name, optionTypeName(o.Type))
		if o.Help == "" {
			fmt.Fprintf(&b, "  %s\n", left)
			continue
		}
		fmt.Fprintf(&b, "  %-22s - %s\n", left, o.Help)
	}
	return b.String()
}

func optionTypeName(t blockdev.OptionType) string {
	switch t {
	case blockdev.OptBool:
		return "bool (on/off)"
	case blockdev.OptInt, blockdev.OptSigned:
		return "num"
	case blockdev.OptSize:
		return "size"
	}
	return "str"
}
