package qcow2

import (
	"maps"
	"math"
	"slices"
)

// references counts references to clusters, sparsely: a hostile file may be long and empty.
type references struct {
	pages map[int64]*[referencePage]uint32
	// The page that was used last: most clusters come in order.
	number int64
	page   *[referencePage]uint32
}

const referencePage = 4096

func newReferences() *references { return &references{pages: map[int64]*[referencePage]uint32{}} }

// at is the page of a cluster, nil if there is none.
func (r *references) at(cluster int64) *[referencePage]uint32 {
	if number := cluster / referencePage; r.page == nil || number != r.number {
		r.number, r.page = number, r.pages[number]
	}
	return r.page
}

func (r *references) add(cluster int64) {
	p := r.at(cluster)
	if p == nil {
		p = new([referencePage]uint32)
		r.pages[cluster/referencePage], r.page = p, p
	}
	p[cluster%referencePage]++
}

func (r *references) get(cluster int64) uint32 {
	if p := r.at(cluster); p != nil {
		return p[cluster%referencePage]
	}
	return 0
}

// sub takes a reference back.
func (r *references) sub(cluster int64) {
	if p := r.at(cluster); p != nil && p[cluster%referencePage] > 0 {
		p[cluster%referencePage]--
	}
}

// usedClusters walks over the clusters that may have a refcount or references, and past the
// others: a hostile file may be long and empty.
type usedClusters struct {
	c     *checker
	pages []int64 // of references, in order, from that of the last cluster on
}

func (c *checker) usedClusters() *usedClusters {
	return &usedClusters{c, slices.Sorted(maps.Keys(c.references.pages))}
}

// from is the first such cluster from i on, math.MaxInt64 if there is none. i grows from call
// to call.
func (u *usedClusters) from(i int64) int64 {
	im := u.c.im
	block := i >> im.refBlockBits
	if u.c.references.at(i) != nil || block < int64(len(im.refs.entries)) && im.refs.entries[block] != 0 {
		return i
	}
	for len(u.pages) > 0 && u.pages[0] < i/referencePage {
		u.pages = u.pages[1:]
	}
	next := int64(math.MaxInt64)
	if len(u.pages) > 0 {
		next = u.pages[0] * referencePage
	}
	for block++; block < int64(len(im.refs.entries)) && block<<im.refBlockBits < next; block++ {
		if im.refs.entries[block] != 0 {
			return block << im.refBlockBits
		}
	}
	return next
}

// each calls f with every cluster that has references, in no order.
func (r *references) each(f func(cluster int64)) {
	for page, counts := range r.pages {
		for i, n := range counts {
			if n > 0 {
				f(page*referencePage + int64(i))
			}
		}
	}
}
