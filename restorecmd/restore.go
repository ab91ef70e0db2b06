// SPDX-License-Identifier: Apache-2.0

package restorecmd

import (
	"context"
	"errors"
)

func runRestore(ctx context.Context, r *run) error { return errors.New("not yet") }
