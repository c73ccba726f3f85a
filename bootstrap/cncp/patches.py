"""What is ours where a library has something of its own: what it was read from, what to look at when that changes.

Nothing that runs imports this. ``tests/unit/test_patches.py`` holds it against the installed libraries, the locks and
our code: a version that nobody has read, something read that is different now, and a patch that is not in here are
failures, and each says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Patch:
    """Something of ours that replaces a library's own, overrides it, or depends on how it is made.

    ``by`` names what does so in our code, and ``read`` what was read for it, each as ``module:name``, a whole module
    by its name alone. With each goes the digest of its source (``tests/unit/test_patches.py`` says which it is now),
    several where it differs between the locked versions, none where it only has to be there.
    """

    name: str
    versions: tuple[str, ...]
    by: tuple[str, ...]
    why: str
    look: str
    read: Mapping[str, str]


_IPYPARALLEL = "ipyparallel 9.2.0"
_JUPYTER_CLIENT = "jupyter-client 8.10.0"
_IPYKERNEL = ("ipykernel 7.3.0", "ipykernel 7.4.0")
"""The second from Python 3.11 on."""

PATCHES: tuple[Patch, ...] = (
    Patch(
        name="a controller that ends when it is broken",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.controller:Controller",),
        why="a controller without one of its schedulers goes on, and loses tasks",
        look="which children there are and how multiprocessing knows them (`launcher`); whether it watches them "
        "itself; which signals stop it",
        read={
            "ipyparallel.controller.app:IPController.start": "778f9b022ce7",
            "ipyparallel.controller.app:IPController.handle_signal": "556d4dcfe5d3",
            "ipyparallel.controller.app:IPController.init_signal": "da1e8b256c3b",
            "ipyparallel.controller.app:IPController.init_schedulers": "34a657fa7428",
            "ipyparallel.controller.app:IPController.terminate_children": "7f8527aa8555",
        },
    ),
    Patch(
        name="the logs of a controller's children",
        versions=("traitlets 5.16.1",),
        by=("cncp.serve.controller:_die_with_parent",),
        why="children have the parent's log file open, and would rotate it as well",
        look="where the one instance of an application is kept, and is None where there is none",
        read={"traitlets.config.configurable:SingletonConfigurable._instance": "b2cd78759e96"},
    ),
    Patch(
        name="a start of the controller without a pause",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.controller:Controller",),
        why="it sleeps for a quarter of a second that nothing needs",
        look="what else in its module uses the clock, which is replaced for all of it; whether the pause is there",
        read={
            "ipyparallel.controller.app:IPController.init_hub": "37a43ee011ad",
            "ipyparallel.controller.app:time": "4f9b8491ba4d",
        },
    ),
    Patch(
        name="results that are found again",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.results_db:ResultsDB", "cncp.serve.controller:Controller"),
        why="newer versions of SQLite write names of types in capitals: each start made a new table",
        look="whether types are compared without regard to case; whether the last results are committed at its end",
        read={
            "ipyparallel.controller.app:IPController.db_class": "654f8b8d0341",
            "ipyparallel.controller.sqlitedb:SQLiteDB.__init__": "03766e471c6f",
            "ipyparallel.controller.sqlitedb:SQLiteDB._init_db": "419784601369",
            "ipyparallel.controller.sqlitedb:SQLiteDB._check_table": "d23dc5ca0c17",
            "ipyparallel.controller.sqlitedb:SQLiteDB._db": "46620ce8c7ce",
            "ipyparallel.controller.sqlitedb:SQLiteDB._keys": "4113a7d530a6",
        },
    ),
    Patch(
        name="ids by place",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.registration:guard", "cncp.serve.registration:replace_predecessor"),
        why="engines of several hosts ask for the same ids; a late goodbye would end whoever has the id by then, and "
        "its tasks would be taken for lost",
        look="which handlers there are and what they are given; when a registration that has begun is one; what is "
        "called later, by id, when an engine has gone",
        read={
            "ipyparallel.controller.hub:Hub.query_handlers": "f789f5a34895",
            "ipyparallel.controller.hub:Hub.new_engine_id": "f52f58cfd120",
            "ipyparallel.controller.hub:Hub.register_engine": "5a5f8dd49fd4",
            "ipyparallel.controller.hub:Hub.unregister_engine": "42ffd380bee0",
            "ipyparallel.controller.hub:Hub.finish_registration": "9c6572540482",
            "ipyparallel.controller.hub:Hub.incoming_registrations": "d4c50e512fee",
            "ipyparallel.controller.hub:Hub.queues": "a765f10cea41",
            "ipyparallel.controller.hub:Hub._handle_stranded_msgs": "d9840153d4a5",
        },
    ),
    Patch(
        name="what becomes of engines while a client connects",
        versions=(_IPYPARALLEL,),
        by=(
            "cncp.serve.announcements:Announcements",
            "cncp.serve.controller:Controller",
            "cncp.serve.draining:DrainingScheduler._register_engine",
        ),
        why="a client subscribes once it has the hub's answer, and is never told what has changed in between: it waits "
        "for engines that are there, and gives tasks to others that are not",
        look="whether a client subscribes before it asks; what binds the socket for notifications, and when it is "
        "used first; who else subscribes, and takes an engine that it knows for another",
        read={
            "ipyparallel.client.client:Client._connect": "1f51fd356352",
            "ipyparallel.client.client:Client._update_engines": "c874709236e6",
            "ipyparallel.controller.app:IPController.bind": "783ecbc8315d",
            "ipyparallel.controller.app:IPController.init_hub": "37a43ee011ad",
            "ipyparallel.controller.hub:Hub.query_handlers": "f789f5a34895",
            "ipyparallel.controller.hub:Hub.connection_request": "d42c9c37e02e",
            "ipyparallel.controller.hub:Hub.notifier": "7f3a55841511",
            "ipyparallel.controller.task_scheduler:TaskScheduler._register_engine": "d0e68799a8ea",
            "ipyparallel.controller.task_scheduler:TaskScheduler.dispatch_query_reply": "778776a5d6c4",
        },
    ),
    Patch(
        name="the saved table of engines",
        versions=(_IPYPARALLEL,),
        by=(
            "cncp.serve.registration:save_engines",
            "cncp.serve.registration:prune",
            "cncp.serve.controller:Controller",
        ),
        why="it is written in place, for the first time while it is read: cut off half-way, all engines are lost",
        look="what stands in it, and whether more is read from it; where it is; when it is written",
        read={
            "ipyparallel.controller.hub:Hub._save_engine_state": "6e2e6d13e569",
            "ipyparallel.controller.hub:Hub._load_engine_state": "5ff4336d9a57",
            "ipyparallel.controller.hub:Hub._idcounter": "13cd2dda76ae",
        },
    ),
    Patch(
        name="engines that get no more tasks, and keep those that they have",
        versions=(_IPYPARALLEL,),
        by=(
            "cncp.serve.draining:DrainingScheduler",
            "cncp.serve.draining:relay",
            "cncp.serve.controller:Controller",
        ),
        why="the scheduler knows who is there and who is gone, whose tasks it fails: nobody can be let go in between",
        look="how engines are chosen, with and without a high-water mark; what is kept of those that compute; what "
        "comes as an answer of the hub; whether engines can be drained by now",
        read={
            "ipyparallel.controller.app:TaskScheduler": "",
            "ipyparallel.controller.app:IPController.init_schedulers": "34a657fa7428",
            "ipyparallel.controller.hub:Hub.dispatch_query": "9a7f95866bf2",
            "ipyparallel.controller.task_scheduler:TaskScheduler.start": "d52289d86377",
            "ipyparallel.controller.task_scheduler:TaskScheduler.dispatch_query_reply": "778776a5d6c4",
            "ipyparallel.controller.task_scheduler:TaskScheduler.available_engines": "398044567f1b",
            "ipyparallel.controller.task_scheduler:TaskScheduler.maybe_run": "dbfbd666bdb5",
            "ipyparallel.controller.task_scheduler:TaskScheduler.submit_task": "4fa4bb48f505",
            "ipyparallel.controller.task_scheduler:TaskScheduler._unregister_engine": "a7b2b21c968a",
        },
    ),
    Patch(
        name="connections that end when the other machine is gone",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.controller:Controller", "cncp.serve.draining:bind_alive"),
        why="a client that is gone without a word would be connected for ever",
        look="whether sockets are still bound by this function, and by which name it is called",
        read={
            "ipyparallel.util:bind": "a7be0d3df6d0",
            "ipyparallel.controller.scheduler:launch_scheduler": "bb2ca1e03835",
        },
    ),
    Patch(
        name="a heart monitor that does not make engines wait",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.heartbeat:PromptMonitor", "cncp.serve.controller:Controller"),
        why="an engine is registered once its heart was told to the hub, which is up to two beats later",
        look="whether new hearts are still told at beats alone; what a pong between beats is taken for; which class "
        "the monitor's process takes, and from where",
        read={
            "ipyparallel.controller.heartmonitor:HeartMonitor": "",
            "ipyparallel.controller.heartmonitor:HeartMonitor.start": "3b09c16bfd3f",
            "ipyparallel.controller.heartmonitor:HeartMonitor.beat": "69f8e5363d93",
            "ipyparallel.controller.heartmonitor:HeartMonitor.handle_pong": "fd16e7cdb60a",
            "ipyparallel.controller.heartmonitor:HeartMonitor.handle_new_hearts": "d6b42a4e6d20",
            "ipyparallel.controller.heartmonitor:start_heartmonitor": "294fb40769cb",
        },
    ),
    Patch(
        name="restored engines that are gone",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.heartbeat:expect_hearts",),
        why="only hearts that have beaten before are missed: who went while the controller was away stays registered",
        look="whether engines from the saved table are given up by now; by which method the monitor's messages come",
        read={
            "ipyparallel.controller.hub:Hub.heartmonitor_message": "062db62d62c4",
            "ipyparallel.controller.hub:Hub.handle_new_heart": "79c23ecbb896",
            "ipyparallel.controller.hub:Hub.handle_stopped_heart": "bc11eb936fa7",
        },
    ),
    Patch(
        name="an engine's start and end",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.engine:Engine",),
        why="ends are orderly for a service manager, say goodbye at once, and wait for nobody who does not answer",
        look="what stops the loop and what that raises; what is sent before an end, and whether it can wait for ever",
        read={
            "ipyparallel.engine.app:IPEngine.start": "388c8b0933af",
            "ipyparallel.engine.app:IPEngine._start": "9b2b5a7ecb3f",
            "ipyparallel.engine.app:IPEngine.abort": "8991a8ce06cd",
            "ipyparallel.engine.app:IPEngine.init_signal": "6f900cd9d1a3",
            "ipyparallel.engine.app:IPEngine._signal_stop": "a758ca6cbe0a",
            "ipyparallel.engine.app:IPEngine._signal_sigint": "e1f9cebfa43b",
            "ipyparallel.engine.app:IPEngine._hb_monitor": "65dbe825b586",
            "ipyparallel.engine.app:IPEngine._hb_missed_beats": "d7505bb7fdc9",
        },
    ),
    Patch(
        name="a controller at another address",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.engine:Engine",),
        why="the address in the file is one that worked; the controller's names lead to where it is today",
        look="what is made of the file's address and location, and is to be made again for another",
        read={
            "ipyparallel.engine.app:IPEngine.load_connection_file": "aa630013fe7a",
            "ipyparallel.engine.app:IPEngine.connection_info": "",
            "ipyparallel.engine.app:IPEngine.location": "26f7790d9b53",
            "ipyparallel.engine.app:IPEngine.registration_url": "0d1ffb815166",
        },
    ),
    Patch(
        name="connections before the registration is done",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.engine:Engine", "cncp.serve.engine_connections:Queues"),
        why="a queue drops what is sent to an engine whose connection is not made",
        look="whether all sockets are still connected by the function that is handed over, before the heart begins",
        read={
            "ipyparallel.engine.app:IPEngine.register": "a89926595ea5",
            "ipyparallel.engine.app:IPEngine.complete_registration": "e1b46f64b1c6",
            "ipyparallel.engine.app:IPEngine.start_heartbeat": "d097f975e339",
        },
    ),
    Patch(
        name="an engine's log that is not the terminal's",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.log_files:RotatedFile",),
        why="every handler that is a StreamHandler is pointed at the terminal",
        look="which handlers are",
        read={"ipyparallel.engine.app:IPEngine.redirect_output": "ba435c9f1eac"},
    ),
    Patch(
        name="the kernel in the nanny's place",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.kernel:Kernel", "cncp.serve.engine:serve"),
        why="the nanny, a process more for each engine, answers signals; the kernel's own thread can",
        look="what the nanny answers, with which content; which class the engine makes its kernel of",
        read={
            "ipyparallel.engine.app:Kernel": "90fafc97fcc9",
            "ipyparallel.engine.kernel:IPythonParallelKernel.__init__": "23547f990ea6",
            "ipyparallel.engine.kernel:IPythonParallelKernel.control_msg_types": "1914d4ba18ff",
            "ipyparallel.engine.kernel:IPythonParallelKernel.get_engine_info": "1259552d5a98",
            "ipyparallel.engine.nanny:KernelNanny.dispatch_control": "05d8250d45b2",
            "ipyparallel.engine.nanny:KernelNanny.signal_request": "d6ab59ee804b",
        },
    ),
    Patch(
        name="every control request is answered",
        versions=_IPYKERNEL,
        by=("cncp.serve.kernel:Kernel", "cncp.serve.kernel:Answering"),
        why="a request that fails, or that nobody knows, has a client wait for ever",
        look="how a handler is looked up and called, and what becomes of its errors",
        read={
            "ipykernel.kernelbase:Kernel.control_handlers": "030ca2cde460",
            "ipykernel.kernelbase:Kernel.process_control": "0b6ae0807f76",
        },
    ),
    Patch(
        name="what an engine computes, and for whom",
        versions=_IPYKERNEL,
        by=("cncp.serve.kernel:Kernel",),
        why="`cncp status` and the prompt say it",
        look="when the hooks around a request are called, and what is the parent by then",
        read={
            "ipykernel.kernelbase:Kernel.kernel_info": "c62a0f4f13b7",
            "ipykernel.kernelbase:Kernel.pre_handler_hook": "e77f92c931b3",
            "ipykernel.kernelbase:Kernel.post_handler_hook": "14483a3de74e",
            "ipykernel.kernelbase:Kernel.dispatch_shell": "39e07aa01064 8bd984490c79",
            "ipykernel.kernelbase:Kernel.get_parent": "cdb2210ae8d0",
        },
    ),
    Patch(
        name="an engine without a debugger",
        versions=_IPYKERNEL,
        by=("cncp.serve.engine", "cncp.serve.kernel:Kernel"),
        why="it is half of what an engine's start and memory cost",
        look="when it is decided whether there is one; what else the kernel's start does",
        read={
            "ipykernel.debugger:_is_debugpy_available": "19a9a80283e5",
            "ipykernel.ipkernel:IPythonKernel.start": "2082a063ed06",
        },
    ),
    Patch(
        name="an ipyparallel that comes when it is asked for",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.lazy_package:defer", "cncp.serve.engine"),
        why="the package imports clients and launchers, which no engine uses",
        look="whether importing it does more than define names",
        read={"ipyparallel": "95cb719f1806"},
    ),
    Patch(
        name="a jupyter_client and a psutil that come when they are asked for",
        versions=(_IPYPARALLEL, *_IPYKERNEL, _JUPYTER_CLIENT),
        by=("cncp.serve.lazy_package:defer", "cncp.serve.engine"),
        why="they import managers of kernels, and read what only a nanny asks",
        look="what ipykernel and ipyparallel.engine take from them at once, and for what they ask an address",
        read={
            "jupyter_client": "a9cca48057fe",
            "ipykernel.connect": "e3b3dbce3fb4",
            "ipyparallel.engine.nanny": "d2d3e47e1e78",
            "ipyparallel.engine.app:localhost": "601b277c3d91",
        },
    ),
    Patch(
        name="functions of another Python",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.foreign_code:refuse_foreign", "cncp.serve.kernel:Kernel"),
        why="their bytecode would crash an engine",
        look="by which name code is made of what has come, and when that is looked up",
        read={
            "ipyparallel.serialize.codeutil:code_ctor": "c206cd6e4046",
            "ipyparallel.serialize.codeutil:reduce_code": "37b2cf81c5b4",
            "ipyparallel.engine.kernel:IPythonParallelKernel.do_apply": "f88ca85fe5b3",
        },
    ),
    Patch(
        name="a name of a variable from an engine's uuid",
        versions=(_IPYPARALLEL,),
        by=("cncp.ipp.engine_uuid:uuid_of",),
        why="of a broadcast message's id, which ends with the uuid, an engine makes a Python name",
        look="which characters that stands",
        read={
            "ipyparallel.engine.kernel:IPythonParallelKernel.do_apply": "f88ca85fe5b3",
            "ipyparallel.controller.broadcast_scheduler:BroadcastScheduler.dispatch_submission": "7286bdd97a97",
        },
    ),
    Patch(
        name="our cluster as an ipyparallel.Cluster",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.lab_cluster:Running", "cncp.serve.lab_cluster:Launcher"),
        why="programs find it by its file and may use it; starting and stopping is the service manager's",
        look="new methods that start or stop something; what is read from the file and from the attributes",
        read={
            "ipyparallel.cluster.cluster:Cluster.__exit__": "45c46b5eeeaa",
            "ipyparallel.cluster.cluster:Cluster.__aexit__": "1c5c21f99d9f",
            "ipyparallel.cluster.cluster:Cluster._context_client": "3bd9646cf83b",
            "ipyparallel.cluster.cluster:Cluster._is_running": "3bb5713e3add",
            "ipyparallel.cluster.cluster:Cluster.connect_client": "3e01f167fef8",
            "ipyparallel.cluster.cluster:Cluster.controller": "4895f990a3b0",
            "ipyparallel.cluster.cluster:Cluster.engine_launcher_class": "a62b683d4722",
            "ipyparallel.cluster.cluster:Cluster.engines": "398cdcc7cb7a",
            "ipyparallel.cluster.cluster:Cluster.from_dict": "b035d970d00f",
            "ipyparallel.cluster.cluster:Cluster.from_file": "efb2447084ed",
            "ipyparallel.cluster.cluster:Cluster.restart_engines": "d99ee2072ba4",
            "ipyparallel.cluster.cluster:Cluster.signal_engines": "419decdb9c2a",
            "ipyparallel.cluster.cluster:Cluster.start_and_connect": "0441c34571f3",
            "ipyparallel.cluster.cluster:Cluster.start_cluster": "73b9529d97d0",
            "ipyparallel.cluster.cluster:Cluster.start_controller": "d1779cf16d56",
            "ipyparallel.cluster.cluster:Cluster.start_engines": "6c517dfb53b1",
            "ipyparallel.cluster.cluster:Cluster.stop_cluster": "667e4cbb90c6",
            "ipyparallel.cluster.cluster:Cluster.stop_controller": "5d591354038c",
            "ipyparallel.cluster.cluster:Cluster.stop_engines": "9f5352da6f31",
            "ipyparallel.cluster.cluster:Cluster.to_dict": "cbc9e4e5b4e4",
            "ipyparallel.cluster.cluster:Cluster.update_cluster_file": "1f7d2b98bc8a",
            "ipyparallel.cluster.launcher:abbreviate_launcher_class": "f9af38daa14b",
            "ipyparallel.cluster.app:IPClusterStart": "b83ecf0e13b5",
        },
    ),
    Patch(
        name="which application runs",
        versions=("traitlets 5.16.1",),
        by=("cncp.serve.lab_cluster:Running", "cncp.serve.lab_cluster:Launcher", "cncp.serve.lab_cluster:_refuse"),
        why="a refusal is a line on ipcluster's command line, an error elsewhere; asking for the instance makes one",
        look="where the one instance of an application is kept; whether a configurable takes settings as it is made",
        read={
            "traitlets.config.configurable:SingletonConfigurable._instance": "b2cd78759e96",
            "traitlets.config.configurable:Configurable.__init__": "6c843dfa628d",
        },
    ),
    Patch(
        name="clusters in the lab's list",
        versions=(_IPYPARALLEL,),
        by=("cncp.serve.lab_cluster:Clusters", "cncp.serve.jupyter:serve"),
        why="listing clusters makes one in every profile, and a profile_default where there is none",
        look="by which name the extension finds its manager; what listing and making are given",
        read={
            "ipyparallel.nbextension.handlers:ClusterManager": "871d1a22fc9a",
            "ipyparallel.nbextension.handlers:ClusterListHandler": "ab58fa4032e9",
            "ipyparallel.nbextension.handlers:load_jupyter_server_extension": "930642b8aabc",
            "ipyparallel.cluster.cluster:ClusterManager.load_clusters": "f51051c4f76c",
            "ipyparallel.cluster.cluster:ClusterManager.new_cluster": "f26020afdf5e",
        },
    ),
    Patch(
        name="the text of a name that is asked about",
        versions=(_IPYPARALLEL,),
        by=("cncp.machine.ops.repl:run",),
        why="`name?` answers with a payload, which a reply shows nowhere else",
        look="whether replies offer their payload",
        read={"ipyparallel.client.client:ExecuteReply._content": "20b653fe9292"},
    ),
    Patch(
        name="a client of the hub in a few frames",
        versions=(_IPYPARALLEL, _JUPYTER_CLIENT),
        by=("cncp.ipp.hub:Hub", "cncp.serve.log_files:_worth_keeping"),
        why="ipyparallel.Client takes 0.4 s to import",
        look="how messages are framed and signed; what the hub answers, and writes into its log for each question",
        read={
            "ipyparallel.controller.hub:Hub.connection_request": "d42c9c37e02e",
            "ipyparallel.controller.hub:Hub.queue_status": "80fee6b49bea",
            "jupyter_client.session:Session.sign": "b1cb7f826e3c",
            "jupyter_client.session:Session.serialize": "1c43e5ff8880",
            "jupyter_client.session:Session.feed_identities": "c14fe1436bf2",
        },
    ),
    Patch(
        name="ports and connection files before there is a controller",
        versions=(_IPYPARALLEL,),
        by=(
            "cncp.ipp.keys:connection_files",
            "cncp.ipp.connection_file:ClientFile",
            "cncp.config.parsers:PORTS_NEEDED",
        ),
        why="they are made once and stay, so that clients and engines find a restarted controller",
        look="which channels there are, and what else stands in the files; which ports are bound, and from which pool",
        read={
            "ipyparallel.controller.app:IPController.init_hub": "37a43ee011ad",
            "ipyparallel.controller.app:IPController.load_config_from_json": "e25825bc85e8",
            "ipyparallel.controller.app:IPController.next_port": "44c63bdfc068",
            "ipyparallel.client.client:Client._connect": "1f51fd356352",
        },
    ),
    Patch(
        name="programs of a supervisord in any home",
        versions=("supervisor 4.3.0",),
        by=("cncp.supervisord:_prepare",),
        why="brackets in the folder's name would be taken for a pattern",
        look="by which name included files are looked for, and whether anything else is",
        read={
            "supervisor.options:glob": "8dcc5586a68c",
            "supervisor.options:ServerOptions.read_config": "a29d715eb9a7",
        },
    ),
    Patch(
        name="the help of a verb's options, each time it is asked for",
        versions=("invoke 2.2.1",),
        by=("cncp.tasks.task:Verb",),
        why="the help of each option is taken out of the task's own, and there is none the second time",
        look="whether `get_arguments` still empties `help`, and refuses help for what is no option",
        read={
            "invoke.tasks:Task.get_arguments": "0e8bd84072b5",
            "invoke.tasks:Task.help": "316a365d884f",
        },
    ),
    Patch(
        name="what cidd answers",
        versions=("tornado 6.5.10", "tornado 6.6.1"),
        by=("cncp.netboot.cidd_web",),
        why="a handler is a class with these methods, which are made to be overridden; errors are ours",
        look="whether handlers are still written so, and an error that `prepare` raises still comes to both "
        "`log_exception` and `write_error`",
        read={
            "tornado.web:RequestHandler.initialize": "",
            "tornado.web:RequestHandler.prepare": "",
            "tornado.web:RequestHandler.set_default_headers": "",
            "tornado.web:RequestHandler.write_error": "",
            "tornado.web:RequestHandler.log_exception": "",
            "tornado.web:RequestHandler.get": "",
            "tornado.web:RequestHandler.post": "",
            "tornado.web:RequestHandler.put": "",
            "tornado.web:RequestHandler.delete": "",
        },
    ),
)
