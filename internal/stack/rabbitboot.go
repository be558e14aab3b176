package stack

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// A RabbitMQ spends most of its start on loading code: it asks for each of some 1,100 modules
// in the folders of all 60 plugins, used or not, and enters them one by one. Here it finds the
// folders of the plugins that it may need, and loads those modules at once. It takes 1.6
// seconds of processor time instead of 3.6 (3.10.8, Erlang 25).

const (
	rabbitHome = "home"                // in the engine's folder: what RabbitMQ takes for its installation
	erlangLibs = "/usr/lib/erlang/lib" // a folder for each of Erlang's applications
)

// rabbitApps are the applications whose modules each RabbitMQ with a console has loaded when it
// is up. One that a version does not have is left out, and one that is missing here is loaded
// all the same, only later.
var rabbitApps = struct{ plugins, erlang []string }{
	plugins: []string{"rabbit", "rabbit_common", "ra", "rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch", "rabbitmq_prelaunch",
		"amqp10_common", "amqp_client", "aten", "cowboy", "cowlib", "credentials_obfuscation", "cuttlefish", "gen_batch_server", "jsx",
		"observer_cli", "osiris", "ranch", "recon", "seshat", "stdout_formatter", "sysmon_handler", "syslog", "systemd"},
	erlang: []string{"crypto", "kernel", "mnesia", "sasl", "stdlib"},
}

// rabbitCode is where the package has put its plugins, and the modules to load at once.
var rabbitCode = sync.OnceValues(func() (plugins string, modules []string) {
	server, err := filepath.EvalSymlinks(rabbitServer)
	if err != nil {
		return "", nil
	}
	plugins = filepath.Join(filepath.Dir(server), "..", "plugins")
	add := func(folder string, apps []string) {
		for _, app := range apps {
			files, _ := filepath.Glob(filepath.Join(folder, app+"-[0-9]*", "ebin", "*.beam"))
			for _, f := range files {
				modules = append(modules, strings.TrimSuffix(filepath.Base(f), ".beam"))
			}
		}
	}
	add(plugins, rabbitApps.plugins)
	add(erlangLibs, rabbitApps.erlang)
	return plugins, modules
})

// rabbitLoads is the setting of Erlang that loads them, before RabbitMQ itself begins. The
// modules that are there already, or cannot be found, do not matter.
func rabbitLoads() string {
	_, modules := rabbitCode()
	if len(modules) == 0 {
		return "ERL_AFLAGS="
	}
	return "ERL_AFLAGS=-s code ensure_modules_loaded " + strings.Join(modules, " ")
}

// rabbitBare are applications of which RabbitMQ uses a part or nothing. It asks each module that
// an application lists for its boot steps and thereby loads it; these have none. A module that is called is loaded then.
var rabbitBare = []string{"compiler", "inets", "os_mon", "public_key", "ssl", "syntax_tools", "tools", "xmerl"}

// listed is what an application's file says of its modules.
var listed = regexp.MustCompile(`(?s)\{modules,\s*\[.*?\]\s*\}`)

// rabbitLists writes the files of these applications without their modules, where Erlang finds
// them before its own.
func (e *Engine) rabbitLists() (err error) {
	dir := e.path(rabbitHome, "apps")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	for _, app := range rabbitBare {
		files, _ := filepath.Glob(filepath.Join(erlangLibs, app+"-[0-9]*", "ebin", app+".app"))
		if len(files) != 1 {
			continue // it is not here, or which of two will run is not known
		}
		for _, f := range files {
			said, failed := os.ReadFile(f)
			err = errors.Join(err, failed, e.write(filepath.Join(rabbitHome, "apps", app+".app"), listed.ReplaceAllString(string(said), "{modules, []}")))
		}
	}
	return err
}

// rabbitStart is what Erlang is told on top: where these files are, and that what RabbitMQ starts
// itself, such as the helper of a cluster's member that looks for epmd, does without rabbitLoads.
func (e *Engine) rabbitStart() string {
	more := " -env ERL_AFLAGS -noinput"
	if apps := e.path(rabbitHome, "apps"); !strings.ContainsAny(apps, " \t*?[") { // the script divides them there
		more += " -pa " + apps
	}
	return more
}

// rabbitFolders makes the folder that RabbitMQ takes for its installation: it has links to all
// that comes with the package, but not to the plugins beside the console.
func (e *Engine) rabbitFolders() error {
	installed, _ := rabbitCode()
	entries, err := os.ReadDir(installed)
	if err != nil || strings.Contains(e.folder.path, ":") { // that separates folders
		// It takes the package's own, also where this folder had another name before.
		return os.RemoveAll(e.path("rabbitmq-env.conf"))
	}
	plugins := e.path(rabbitHome, "plugins")
	if err := errors.Join(os.RemoveAll(plugins), os.MkdirAll(plugins, 0o700)); err != nil {
		return err
	}
	for _, entry := range entries {
		app, _, _ := strings.Cut(entry.Name(), "-")
		switch app {
		case "rabbitmq_management", "rabbitmq_management_agent", "rabbitmq_web_dispatch", "rabbitmq_prelaunch":
		default:
			if strings.HasPrefix(app, "rabbitmq_") {
				continue
			}
		}
		err = errors.Join(err, os.Symlink(filepath.Join(installed, entry.Name()), filepath.Join(plugins, entry.Name())))
	}
	// The script that starts the server reads this when it has found where it is itself.
	return errors.Join(err, e.write("rabbitmq-env.conf", "RABBITMQ_HOME='"+e.path(rabbitHome)+"'\nRABBITMQ_PLUGINS_DIR='"+plugins+"'\n"))
}
