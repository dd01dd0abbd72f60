package listen

func languageRows() []Program {
	rows := []Program{
		{Name: "gunicorn", Rule: "listen-python-server", Ran: "gunicorn 20.1.0", Keys: []string{"*gunicorn*.py"}, Gist: []string{"bind"}, Files: each(gunicornFile),
			Names: []string{"gunicorn", "gunicorn3"}, Any: true, Run: own([]string{"gunicorn", "gunicorn3"}, gunicornRun), Cases: gunicornCases},
		{Name: "uvicorn", Rule: "listen-python-server", Ran: "uvicorn 0.17.6", Names: []string{"uvicorn"}, Any: true, Run: own([]string{"uvicorn"}, uvicornRun), Cases: uvicornCases},
		{Name: "FastAPI CLI", Rule: "listen-python-server", Source: "fastapi/fastapi-cli, cli.py; uvicorn, which binds, was run", Names: []string{"fastapi"}, Run: fastapiRun, Cases: fastapiCases},
		{Name: "Hypercorn", Rule: "listen-python-server", Ran: "Hypercorn 0.13.2", Names: []string{"hypercorn"},
			Run: options{stack: plain, address: []string{"-b", "--bind"}, local: "8000", both: "[::]"}.run, Cases: hypercornCases},
		{Name: "Daphne", Rule: "listen-python-server", Ran: "Daphne 4.0.0", Names: []string{"daphne"},
			Run: options{stack: plain, host: []string{"-b", "--bind"}, port: []string{"-p", "--port"}, local: "8000", both: "::"}.run, Cases: daphneCases},
		{Name: "Django", Rule: "listen-python-server", Ran: "Django 3.2.25", Names: []string{"manage.py", "django-admin"}, Run: djangoRun, Cases: djangoCases},
		{Name: "Flask", Rule: "listen-python-server", Ran: "Flask 2.2.2", Names: []string{"flask"}, Any: true, Run: own([]string{"flask"}, flaskRun), Cases: flaskCases},
		{Name: "Waitress", Rule: "listen-python-server", Ran: "Waitress 2.1.2", Names: []string{"waitress-serve", "waitress"}, Run: waitressRun, Cases: waitressCases},
		{Name: "uWSGI", Rule: "listen-python-server", Ran: "uWSGI 2.0.21", Keys: []string{"*.ini"}, Gist: []string{"[uwsgi]"}, Files: each(uwsgiFile),
			Names: []string{"uwsgi", "uwsgi-core", "uwsgi_python3"}, Any: true, Run: own([]string{"uwsgi", "uwsgi-core", "uwsgi_python3"}, uwsgiRun), Cases: uwsgiCases},
		{Name: "Python http.server", Rule: "listen-python-server", Ran: "Python 3.11", Names: []string{"http.server"}, Run: httpServerRun, Cases: httpServerCases},
		{Name: "vLLM", Rule: "listen-python-server", Source: "vllm/entrypoints/openai/api_server.py, create_server_socket",
			Names: []string{"vllm", "vllm.entrypoints.openai.api_server"}, Images: []string{"vllm-openai"}, Run: vllmRun, Cases: vllmCases},
		{Name: "Jupyter", Rule: "listen-python-server", Source: "jupyter-server.readthedocs.io, ServerApp.ip",
			Names: []string{"jupyter", "jupyter-lab", "jupyter-notebook", "start-notebook.sh", "start-notebook.py", "start-singleuser.sh", "start-singleuser.py"}, Run: jupyterRun, Cases: jupyterCases},
		{Name: "MLflow", Rule: "listen-python-server", Source: "mlflow.org/docs, mlflow server --host", Names: []string{"mlflow"}, Run: mlflowRun, Cases: mlflowCases},
		{Name: "Streamlit", Rule: "listen-python-server", Source: "docs.streamlit.io, server.address", Names: []string{"streamlit"}, Any: true, Run: own([]string{"streamlit"}, streamlitRun), Cases: streamlitCases},
		{Name: "Gradio", Rule: "listen-python-server", Source: "gradio/http_server.py", Any: true, Run: gradioRun, Cases: gradioCases},

		{Name: "Puma", Rule: "listen-ruby-server", Ran: "Puma 5.6.5", Source: "puma docs/8.0-Upgrade.md for the default of version 8", Keys: []string{"*puma*.rb"}, Gist: []string{"bind", "port"}, Files: each(pumaFile),
			Names: []string{"puma"}, Run: pumaRun, Cases: pumaCases},
		{Name: "Rails", Rule: "listen-ruby-server", Source: "railties, server_command.rb", Names: []string{"rails"}, Run: railsRun, Cases: railsCases},
		{Name: "Mastodon", Rule: "listen-ruby-server", Source: "mastodon Dockerfile, config/puma.rb, streaming/index.js", Images: []string{"mastodon", "mastodon-streaming"}, Any: true, Run: mastodonRun, Cases: mastodonCases},
		{Name: "Redmine", Rule: "listen-ruby-server", Source: "docker-library/redmine, Dockerfile", Images: []string{"redmine"}, Run: redmineRun, Cases: redmineCases},

		{Name: "Node.js program", Rule: "listen-node", Ran: "Node.js 20.20.2", Names: []string{"node", "nodejs"}, Run: nodeRun, Cases: nodeCases},
		{Name: "Next.js server.js", Rule: "listen-node", Source: "next.js packages/next/src/build/utils.ts", Any: true, Run: nextRun, Cases: nextCases},
		{Name: "Kibana", Rule: "listen-node", Source: "elastic.co/docs and docs.opensearch.org, server.host", Keys: []string{"kibana*.y*ml", "opensearch?dashboards*.y*ml"}, Gist: []string{"host"}, Files: each(kibanaFile),
			Names: []string{"kibana", "opensearch-dashboards"}, Images: []string{"kibana", "opensearch-dashboards"}, Run: kibanaRun, Cases: kibanaCases},
		{Name: "Wiki.js", Rule: "listen-node", Source: "requarks/wiki server/core/servers.js", Keys: []string{"*.y*ml"}, Gist: []string{"bindIP"}, Files: each(wikiFile), Images: []string{"wiki"}, Run: wikiRun, Cases: wikiCases},
		{Name: "Node-RED", Rule: "listen-node", Source: "node-red settings.js, red.js", Keys: []string{"*.js"}, Gist: []string{"uiHost"}, Files: each(nodeRedFile), Cases: nodeRedCases},

		{Name: "Rocket", Rule: "listen-rust", Source: "rocket.rs/guide, Configuration", Keys: []string{"rocket*.toml"}, Gist: []string{"address"}, Files: each(rocketFile), Any: true, Run: rocket.run, Cases: rocketCases},
		{Name: "Vaultwarden", Rule: "listen-rust", Source: "dani-garcia/vaultwarden docker/Dockerfile.debian", Any: true, Run: vaultwardenRun, Cases: vaultwardenCases},
		{Name: "Qdrant", Rule: "listen-rust", Source: "qdrant/qdrant config/config.yaml", Keys: []string{"*.y*ml"}, Gist: []string{"http_port", "grpc_port", "storage_path"}, Files: each(qdrantFile), Any: true,
			Images: []string{"qdrant"}, Names: []string{"qdrant"}, Run: qdrantRun, Cases: qdrantCases},
		{Name: "Meilisearch", Rule: "listen-rust", Source: "meilisearch.com/docs, http_addr", Names: []string{"meilisearch"}, Images: []string{"meilisearch"}, Any: true, Run: own([]string{"meilisearch"}, meilisearchRun), Cases: meilisearchCases},

		{Name: "Kestrel", Rule: "listen-dotnet", Source: "learn.microsoft.com, Kestrel endpoints; aspnetcore AddressBinder", Keys: []string{"appsettings*.json"}, Gist: []string{"Url"}, Files: each(kestrelFile),
			Names: []string{"dotnet"}, Any: true, Run: kestrelRun, Cases: kestrelCases},

		wildcardRow(),
	}
	for _, s := range nodeServers() {
		rows = append(rows, s.row())
	}
	return rows
}
