package stack
import ("testing";"os";"fmt")
func TestZZ(t *testing.T) {
	e := Own(t, KindRabbitMQ)
	for i := range 3 {
	put(t, e)
	e.Kill()
	if err := e.Start(t.Context()); err != nil { t.Fatal(err) }
	fmt.Println(i, count(t, e))
	}
	b, _ := os.ReadFile(e.LogFile())
	os.WriteFile("/tmp/exp/rmq.log", b, 0o600)
}
