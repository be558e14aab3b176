package payers

import "fmt"

// Row says it as a row of the table in docs/money.md.
func (p *Payers) Row(on string, nodes, stores, findings int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |", on, p.Captured.Load(), nodes, stores, p.Late.Load(), p.Wrong.Load(),
		len(p.gave), p.asked-len(p.gave), len(p.heard.seen), p.heard.again, findings)
}

// String says what was done.
func (p *Payers) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	p.lies.mu.Lock()
	defer p.lies.mu.Unlock()
	return fmt.Sprintf("%d payments: %d late, %d of a wrong amount, %d parts and %d whole orders given back; %d refunds, asked for %d times; %d events heard, %d of them again; %d orders contradicted, %d payments left aside, %d refunds unasked, %d that came back",
		p.Captured.Load(), p.Late.Load(), p.Wrong.Load(), p.Parts.Load(), p.Wholes.Load(), len(p.gave), p.asked, len(p.heard.seen), p.heard.again, len(p.lies.maybe), len(p.lies.aside), len(p.lies.hand), len(p.lies.bounced))
}
