// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"fmt"
	"strconv"

	"virtnb/internal/host"
)

// What is done to an image that nobody has open.

// SetDataFile writes another path of the external data file into an image, whose
// data file is at the path now.
func SetDataFile(ctx context.Context, h host.Host, path, format, dataFile, now string) error {
	image := "driver=" + escape(format) + ",file.filename=" + escape(filename(path)) + ",data-file.filename=" + escape(filename(now))
	_, err := h.Run(ctx, []string{"qemu-img", "amend", "-q", "--image-opts", "-o", "data_file=" + escape(dataFile), "--", image})
	if err != nil {
		return fmt.Errorf("the data file of image %s: %w", path, err)
	}
	return nil
}

// Shrink makes an image smaller; what is behind the new size is gone.
func Shrink(ctx context.Context, h host.Host, path, format string, size int64) error {
	_, err := h.Run(ctx, []string{"qemu-img", "resize", "-q", "-f", format, "--shrink", "--", filename(path), strconv.FormatInt(size, 10)})
	if err != nil {
		return fmt.Errorf("shrink image %s: %w", path, err)
	}
	return nil
}

// Check fails where qemu-img finds a fault, also where space is lost.
func Check(ctx context.Context, h host.Host, path, format string) error {
	if _, err := h.Run(ctx, []string{"qemu-img", "check", "-q", "-f", format, "--", filename(path)}); err != nil {
		return fmt.Errorf("check of image %s: %w", path, err)
	}
	return nil
}
