package api

import "github.com/prometheus/client_golang/prometheus"

const previousSecret = "the secret before this one"

func noMetrics() prometheus.Registerer { return prometheus.NewRegistry() }
