package queue
import ("testing";"fmt";"time";"syscall")
func BenchmarkSweep(b *testing.B) {
	for _, c := range []Listener{{1,1,256,true,true},{1,1,1024,true,true},{1,1,2000,true,true},{2,2,512,true,true},{2,2,1024,true,true},{2,4,1024,true,true},{4,4,512,true,true},{10,10,256,true,true},{10,10,64,true,true}} {
		for _, who := range []string{"bare","queue"} {
		b.Run(fmt.Sprintf("%d-%dx%d/%s", c.Concurrency,c.MaxConcurrency, c.Prefetch,who), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				s := fresh(b); s.Listener = c; s.MaxLength=200000
				fill(b, s, 100000)
				b.StartTimer()
				began := time.Now()
				if who=="bare" {drainBare(b,s,100000)} else {drainQueue(b,s,100000)}
				b.ReportMetric(100000/time.Since(began).Seconds(), "tickets/s")
			}
		})}
	}
}
func BenchmarkPublish(b *testing.B) {
	for _, w := range []int{128,512,1024,4096} {
		b.Run(fmt.Sprint(w), func(b *testing.B){
			s := fresh(b); s.ConfirmWindow = w; s.MaxLength=10000000
			q := connected(b, run(b, s, Publishing))
			ts := some(512)
			began := time.Now(); n:=0; var u0,u1 syscall.Rusage; syscall.Getrusage(0,&u0)
			for range b.N { c,err := q.Publish(b.Context(), ts); if err!=nil||len(c)!=512{b.Fatal(err)}; n+=512 }
			syscall.Getrusage(0,&u1); b.ReportMetric((float64(u1.Utime.Nano()+u1.Stime.Nano()-u0.Utime.Nano()-u0.Stime.Nano()))/1000/float64(n),"cpu-us/ticket")
			b.ReportMetric(float64(n)/time.Since(began).Seconds(), "tickets/s")
		})
	}
}
