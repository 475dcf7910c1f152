"""Missing blobs become cached blobs: the map of this package.

A call downloads the missing files of one commit. The scheduler starts one download per blob; a download's workers bring
segments over connections; the writer puts them into the partial file; the digest runs along, and a right one turns
the partial into the blob.

::

    scheduler -> blob -> workers -> worker -> (Hub.open_file)
                   |        |         |
                   |        +----> writer -> segments, partial -> ranges, journal, disk
                   +-> lock                  flusher

    thread              started by   does                                       ended by
    the caller's        the user     scheduler: looks every 0.1 s, keeps time   the result, Ctrl-C
    phaita-transfer     scheduler    runs blobs, then extra workers             no work left, `cancel`
    phaita-digest       digest       hashes behind the writer (from 4 MiB)      the last byte, `cancel`
    phaita-record       flusher      fdatasync and journal (files over 8 MiB)   `finish`, `cancel`
    unnamed, short      scheduler    cancels what may wait for a disk           its one call

    lock                  protects                                   may be taken while holding
    BlobLock              one blob, across processes and threads     nothing
    _Scheduler._mutex     the lists of waiting and running files     nothing
    BlobDownload._mutex   the end, which comes once                  nothing
    Workers._mutex        the list of workers                        _Scheduler._mutex
    BlobWriter._mutex     segments and partial; the flusher's too    nothing, or Workers._mutex without waiting

    stage (blob.Stage)  next                                  time counts against the attempt
    STARTING            LOCKED_OUT, CHECKING, FAILED          yes
    LOCKED_OUT          CHECKING, FAILED                      no
    CHECKING            RECEIVING, DONE, FAILED               no
    RECEIVING           DIGESTING, CHECKING (deleted), FAILED yes
    DIGESTING           DONE, CHECKING (deleted), FAILED      no
    DONE, FAILED        -                                     -

    loop that tries again         where                   again after             ends after
    attempts of a step            retry.Retrying.call     a Transient             policy.attempts, deadline
    an attempt that goes on       scheduler.run           credit at its timeout   an attempt without credit
    connections of a segment      worker.bring            a drop after new bytes  one that brings none
    an expired signed URL         worker.bring            a refusal of it         one more refusal
    the first worker              workers.run             extra workers' bytes    none of them left
    a deleted partial             blob._run               FileNotFoundError       RESTARTS
    deleted files of a snapshot   fetch._download         files gone              RESTARTS
    an idle connection            _http.urllib3_pool.get  ProtocolError, once     one more
    another endpoint              _hub.endpoints          its failure             each was asked once
    the lock                      lock.acquire            another process has it  `release`

The waits in these loops are `Clock.sleep` and `Clock.wait`, so that a test's clock moves them.
"""
