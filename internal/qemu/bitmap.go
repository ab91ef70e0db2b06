// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"fmt"
	"strconv"

	"virtnb/internal/host"
)

// The bitmaps of an image can only be edited while nothing else has it open.

// BitmapAdd adds an enabled bitmap. A granularity of 0 is the size of a
// cluster, at most 64 KiB.
func BitmapAdd(ctx context.Context, h host.Host, path, format, name string, granularity int64) error {
	actions := []string{"--add"}
	if granularity > 0 {
		actions = append(actions, "-g", strconv.FormatInt(granularity, 10))
	}
	return bitmap(ctx, h, path, format, name, actions...)
}

// BitmapRemove removes a bitmap, also one that is in use or damaged.
func BitmapRemove(ctx context.Context, h host.Host, path, format, name string) error {
	return bitmap(ctx, h, path, format, name, "--remove")
}

// BitmapMerge adds what is dirty in the bitmap source to the bitmap target.
func BitmapMerge(ctx context.Context, h host.Host, path, format, source, target string) error {
	return bitmap(ctx, h, path, format, target, "--merge="+source)
}

// BitmapEnable has the bitmap record writes from now on.
func BitmapEnable(ctx context.Context, h host.Host, path, format, name string) error {
	return bitmap(ctx, h, path, format, name, "--enable")
}

// BitmapDisable ends that.
func BitmapDisable(ctx context.Context, h host.Host, path, format, name string) error {
	return bitmap(ctx, h, path, format, name, "--disable")
}

func bitmap(ctx context.Context, h host.Host, path, format, name string, actions ...string) error {
	argv := append([]string{"qemu-img", "bitmap"}, actions...)
	_, err := h.Run(ctx, append(append(argv, formatFlag(format)...), "--", filename(path), name))
	if err != nil {
		return fmt.Errorf("bitmap %s of %s: %w", name, path, err)
	}
	return nil
}
