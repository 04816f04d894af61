// Closed-loop load on the peers of kvs: etcd (v3 API), and Redis by SET and WAIT on plain sockets.
// Prints one line of JSON, in the form of report.ts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/ioutil"
	"math/bits"
	"math/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const (
	// As in latencies.ts: exact below, half as many buckets for each octave above.
	exact      = 512
	perOctave  = exact / 2
	octaveBits = 8
	buckets    = (32 - octaveBits) * perOctave
	values     = 256
	tickMs     = 10
	waitMs     = 1000
)

var (
	work        = flag.String("work", "put", "put, get, txn (puts in a transaction), load (every key once) or setwait (Redis)")
	endpoints   = flag.String("endpoints", "127.0.0.1:2379", "HOST:PORT, separated by commas")
	concurrency = flag.Int("concurrency", 64, "operations, or transactions, in flight")
	connections = flag.Int("connections", 8, "connections; of Redis one for each in flight")
	seconds     = flag.Float64("seconds", 2, "counted")
	warm        = flag.Float64("warm", 0.7, "seconds before that")
	keys        = flag.Int("keys", 10000, "keys used")
	valueBytes  = flag.Int("value-bytes", 128, "of each value")
	batch       = flag.Int("batch", 64, "puts in a transaction")
	replicas    = flag.Int("replicas", 2, "replicas that WAIT waits for")
	servers     = flag.String("servers", "", "pids whose CPU is measured, separated by commas")
)

type report struct {
	Seconds     float64  `json:"seconds"`
	Reads       [][2]int `json:"reads"`
	Writes      [][2]int `json:"writes"`
	Errors      int64    `json:"errors"`
	FirstError  string   `json:"firstError"`
	ClientCPUMs float64  `json:"clientCpuMs"`
	ServerCPUMs float64  `json:"serverCpuMs"`
}

// What one caller does again and again.
type operation func(random *rand.Rand) error

func bucketFor(microseconds int64) int {
	if microseconds < exact {
		return int(microseconds)
	}
	shift := bits.Len64(uint64(microseconds)) - 1 - octaveBits
	return shift*perOctave + int(microseconds>>uint(shift))
}

func serverCPU() float64 {
	ticks := 0.0
	for _, pid := range strings.Split(*servers, ",") {
		text, err := ioutil.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text)[strings.LastIndex(string(text), ")")+2:])
		for _, field := range fields[11:13] {
			part, _ := strconv.ParseFloat(field, 64)
			ticks += part
		}
	}
	return ticks * tickMs
}

func clientCPU() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e6
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func key(number int) string { return fmt.Sprintf("key%013d", number) }

// Different values out of one random slab: a store may compress what repeats.
func slabOfValues() []string {
	slab := make([]byte, *valueBytes+values)
	rand.New(rand.NewSource(time.Now().UnixNano())).Read(slab)
	cut := make([]string, values)
	for at := range cut {
		cut[at] = string(slab[at : at+*valueBytes])
	}
	return cut
}

func etcdOperations(cut []string) []operation {
	var clients []*clientv3.Client
	for at := 0; at < *connections && at < *concurrency; at++ {
		config := clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialTimeout: 5 * time.Second}
		client, err := clientv3.New(config)
		if err != nil {
			fail(err)
		}
		clients = append(clients, client)
	}
	ctx := context.Background()
	all := make([]operation, *concurrency)
	for at := range all {
		client := clients[at%len(clients)]
		switch *work {
		case "put":
			all[at] = func(random *rand.Rand) error {
				_, err := client.Put(ctx, key(random.Intn(*keys)), cut[random.Intn(values)])
				return err
			}
		case "get":
			all[at] = func(random *rand.Rand) error {
				_, err := client.Get(ctx, key(random.Intn(*keys)))
				return err
			}
		case "txn":
			all[at] = func(random *rand.Rand) error {
				puts := make([]clientv3.Op, 0, *batch)
				// A transaction may put a key once.
				used := make(map[int]bool, *batch)
				for len(puts) < *batch {
					number := random.Intn(*keys)
					if !used[number] {
						used[number] = true
						puts = append(puts, clientv3.OpPut(key(number), cut[random.Intn(values)]))
					}
				}
				_, err := client.Txn(ctx).Then(puts...).Commit()
				return err
			}
		}
	}
	return all
}

func load(cut []string) {
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialTimeout: 5 * time.Second})
	if err != nil {
		fail(err)
	}
	for at := 0; at < *keys; at += *batch {
		var puts []clientv3.Op
		for number := at; number < at+*batch && number < *keys; number++ {
			puts = append(puts, clientv3.OpPut(key(number), cut[number%values]))
		}
		if _, err := client.Txn(context.Background()).Then(puts...).Commit(); err != nil {
			fail(err)
		}
	}
}

// SET and WAIT leave in one write; the second answer says how many replicas have it.
func redisOperations(cut []string) []operation {
	all := make([]operation, *concurrency)
	number := strconv.Itoa(*replicas)
	wait := fmt.Sprintf("*3\r\n$4\r\nWAIT\r\n$%d\r\n%s\r\n$4\r\n%d\r\n", len(number), number, waitMs)
	for at := range all {
		connection, err := net.Dial("tcp", *endpoints)
		if err != nil {
			fail(err)
		}
		reader := bufio.NewReader(connection)
		all[at] = func(random *rand.Rand) error {
			value := cut[random.Intn(values)]
			set := fmt.Sprintf("*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%d\r\n%s\r\n", key(random.Intn(*keys)), len(value), value)
			if _, err := connection.Write([]byte(set + wait)); err != nil {
				return err
			}
			for _, wanted := range []string{"+OK\r\n", ":" + number + "\r\n"} {
				line, err := reader.ReadString('\n')
				if err != nil {
					return err
				}
				if line != wanted {
					return fmt.Errorf("%q instead of %q", line, wanted)
				}
			}
			return nil
		}
	}
	return all
}

func run(all []operation) report {
	var counting, stopping int32
	var errors int64
	var firstError string
	var once sync.Once
	var group sync.WaitGroup
	counts := make([][]int, len(all))
	for at := range all {
		counts[at] = make([]int, buckets)
		group.Add(1)
		go func(at int) {
			defer group.Done()
			random := rand.New(rand.NewSource(time.Now().UnixNano() + int64(at)))
			for atomic.LoadInt32(&stopping) == 0 {
				began := time.Now()
				err := all[at](random)
				if atomic.LoadInt32(&counting) == 0 {
					continue
				}
				if err != nil {
					atomic.AddInt64(&errors, 1)
					once.Do(func() { firstError = err.Error() })
					continue
				}
				counts[at][bucketFor(time.Since(began).Microseconds())]++
			}
		}(at)
	}
	time.Sleep(time.Duration(*warm * 1e9))
	serverBefore, clientBefore, began := serverCPU(), clientCPU(), time.Now()
	atomic.StoreInt32(&counting, 1)
	time.Sleep(time.Duration(*seconds * 1e9))
	atomic.StoreInt32(&counting, 0)
	took := time.Since(began).Seconds()
	server, client := serverCPU()-serverBefore, clientCPU()-clientBefore
	atomic.StoreInt32(&stopping, 1)
	group.Wait()
	weight := 1
	if *work == "txn" {
		weight = *batch
	}
	found := [][2]int{}
	for bucket := 0; bucket < buckets; bucket++ {
		sum := 0
		for _, part := range counts {
			sum += part[bucket]
		}
		if sum > 0 {
			found = append(found, [2]int{bucket, sum * weight})
		}
	}
	result := report{Seconds: took, Reads: [][2]int{}, Writes: found, Errors: errors, FirstError: firstError, ClientCPUMs: client, ServerCPUMs: server}
	if *work == "get" {
		result.Reads, result.Writes = found, result.Reads
	}
	return result
}

func main() {
	flag.Parse()
	cut := slabOfValues()
	if *work == "load" {
		load(cut)
		return
	}
	operations := redisOperations
	if *work != "setwait" {
		operations = etcdOperations
	}
	line, err := json.Marshal(run(operations(cut)))
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}
