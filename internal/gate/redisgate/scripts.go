package redisgate

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/rueidis"

	"seckill"
	"seckill/internal/gate"
)

//go:embed lua/reserve.lua
var reserveLua string

//go:embed lua/finish.lua
var finishLua string

//go:embed lua/release.lua
var releaseLua string

//go:embed lua/move.lua
var moveLua string

//go:embed lua/apply.lua
var applyLua string

//go:embed lua/cut.lua
var cutLua string

//go:embed lua/open.lua
var openLua string

var scripts = struct{ reserve, finish, release, move, apply, cut, open *rueidis.Lua }{
	rueidis.NewLuaScript(reserveLua), rueidis.NewLuaScript(finishLua), rueidis.NewLuaScript(releaseLua), rueidis.NewLuaScript(moveLua),
	rueidis.NewLuaScript(applyLua), rueidis.NewLuaScript(cutLua), rueidis.NewLuaScript(openLua),
}

// call runs a script on a sale. A closed sale is an error, and is looked after.
func (g *Gate) call(ctx context.Context, id seckill.SaleID, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	b := bucket(id)
	client, err := g.up(b)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, g.patience)
	defer cancel()
	answer, err := script.Exec(ctx, client, keys, args).ToArray()
	if err != nil {
		if context.Cause(ctx) == context.Canceled {
			return nil, err // the caller went away: that says nothing about Redis
		}
		return nil, g.fail(b, err)
	}
	g.breaker(b).heard.Store(time.Now().UnixNano())
	switch first, _ := answer[0].ToString(); first {
	case "closed":
		signal(g.lost)
		return nil, gate.Closed(id)
	case "stale":
		signal(g.lost) // or the gate missed a rebuild
		return nil, gate.Stale(id)
	}
	return answer, nil
}
