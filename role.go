package seckill

import "slices"

// The roles of people of the shop, each with the rights of those before it. A buyer has
// none. What each may do is the column of the route table in internal/api/api.go.
const (
	RoleViewer   = "viewer"   // looks
	RoleSupport  = "support"  // helps buyers: their orders, cancels, refunds
	RoleOperator = "operator" // runs sales
	RoleAdmin    = "admin"    // and answers for people, rights and the log
)

var roles = []string{RoleViewer, RoleSupport, RoleOperator, RoleAdmin}

// Roles lists the roles, those with fewer rights first.
func Roles() []string { return slices.Clone(roles) }

// HasRole reports whether whoever has the role given has the rights of least. A role
// that is none of Roles has no rights.
func HasRole(role, least string) bool {
	have, need := slices.Index(roles, role), slices.Index(roles, least)
	return have >= 0 && need >= 0 && have >= need
}
